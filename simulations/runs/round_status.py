"""What the clients of the round under way are doing, as ``now.json`` says it."""

from pydantic import BaseModel, ConfigDict, Field

from common.components import kebab
from server.clients.live_status import ClientStatus


class RoundStatus(BaseModel):
    """What clients do in the round that is under way."""

    model_config = ConfigDict(frozen=True, alias_generator=kebab, populate_by_name=True)

    round: int
    since: float = Field(description="when it began, seconds since 1970", allow_inf_nan=False)
    clients: dict[int, ClientStatus] = Field(
        description="by partition; asked: and not answered yet; training, where the server can see it; answered; "
        "silent: its reply is no use; away: its node is. Others are not asked in this round"
    )
