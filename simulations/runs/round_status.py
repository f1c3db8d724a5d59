"""What the clients of the round under way are doing, as ``now.json`` says it."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from common.components import kebab
from server.clients.live_status import ClientStatus


def _renamed(status: Any) -> Any:
    """Returns the status under its name of today: a file that a run of before leaves behind may have the old one."""
    return "requested" if status == "asked" else status


class RoundStatus(BaseModel):
    """What clients do in the round that is under way."""

    model_config = ConfigDict(frozen=True, alias_generator=kebab, populate_by_name=True)

    round: int
    since: float = Field(description="when it began, seconds since 1970", allow_inf_nan=False)
    clients: dict[int, Annotated[ClientStatus, BeforeValidator(_renamed)]] = Field(
        description="by partition; requested: no answer yet; training, where the server can see it; answered; "
        "silent: its reply is no use; away: its node is. Others are not in this round"
    )
