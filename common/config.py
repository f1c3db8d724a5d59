"""The configuration of a run: one frozen object, parsed and checked before anything starts.

The keys, their meaning and defaults are those of ``[tool.flwr.app.config]`` in ``pyproject.toml`` (a test holds the two
together).
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from common import components, config_checks, renamed_settings, setting_suggestions
from common.component_tables import TABLES, spelled_out
from common.components import CHAINED, Options, kebab
from common.config_keys import ConfigKeys
from common.config_values import fault, flatten
from common.errors import ConfigError
from common.privacy import ClientPrivacy, ExamplePrivacy
from common.privacy.plan import PrivacyPlan

Scalar = bool | int | float | str


class RunConfig(ConfigKeys):
    """Everything that determines a run."""

    @model_validator(mode="after")
    def _goes_together(self) -> "RunConfig":
        config_checks.check(self)
        return self

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Returns the configuration from dotted keys, as Flower passes them; missing keys have their defaults.

        A number is not read out of a string; a whole one may be written with a fraction of 0, as ``1e3`` is.

        Raises:
            ConfigError: An unknown key, or a value of another type or outside its range; names key and value.
        """
        known = cls.keys()
        nested: dict[str, Any] = {}
        for key, value in values.items():
            if key in renamed_settings.KEYS:
                raise ConfigError(f"{key}={value!r}: {renamed_settings.instead(key, value)}")
            if new := renamed_settings.renamed_value(key, value):
                raise ConfigError(f"{key}={value!r}: it is called {new!r} now")
            if key not in known:
                raise ConfigError(
                    f"{key}={value!r}: no such key; {setting_suggestions.hint(key, value, known, TABLES)}"
                )
            if wrong := fault(value, known[key]):
                raise ConfigError(f"{key}={value!r}: {wrong}")
            section, _, name = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[name] = value
        try:
            return cls.model_validate(nested, by_alias=True)
        except ValidationError as error:
            raise ConfigError(components.explain(error)) from None

    @classmethod
    def keys(cls) -> dict[str, type]:
        """Returns every dotted key with the type of its value, in order."""
        return {key: type(value) for key, value in cls().flat().items()}

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Returns every dotted key with what it means."""
        found: dict[str, str] = {}
        for name, field in cls.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
                for inner, detail in field.annotation.model_fields.items():
                    found[f"{name}.{kebab(inner)}"] = detail.description or ""
            else:
                found[name] = field.description or ""
        return found

    def flat(self) -> dict[str, Scalar]:
        """Returns dotted keys and values; ``from_flat`` reads them back."""
        return flatten(self.model_dump(by_alias=True))

    def toml(self) -> str:
        """Returns the configuration as TOML, every key written out."""
        return tomli_w.dumps(self.model_dump(by_alias=True))

    def replaced(self, flat: Mapping[str, Scalar]) -> "RunConfig":
        """Returns a copy with other values, by dotted keys."""
        return RunConfig.from_flat(self.flat() | dict(flat))

    def identity(self) -> dict[str, Scalar]:
        """Returns the keys that the weights of every round depend on; a run resumes only under the same ones."""
        ignored = ("output.", "evaluation.")
        free = {"data.root", "tracking", "hooks"}
        if self.local.schedule == "constant" and not self.privacy_component.private:  # noise is for so many rounds
            free.add("federation.num-rounds")
        if not self.local.warmup_rounds:  # which earlier versions did not have
            free.add("local.warmup-rounds")
        if not self.privacy_component.private:  # nor this
            free.add("privacy")
        waiting = ("min-replies", "round-retries", "patience", "wait-seconds", "round-seconds", "reply-megabytes")
        free |= {f"federation.{key}" for key in waiting}
        kept = {k: v for k, v in self.flat().items() if not k.startswith(ignored) and k not in free}
        if back := CHAINED.join(hook.spec() for hook in self.round_hooks if hook.may_go_back):
            kept["hooks"] = back
        if self.evaluation.canaries:  # which earlier versions did not have
            kept["evaluation.canaries"] = self.evaluation.canaries
        return kept | {"evaluation.holdout": self.evaluation.holdout}

    def least_replies(self, cohort: int) -> int:
        """Returns the usable replies without which a round of ``cohort`` clients fails."""
        return max(self.federation.min_replies or (cohort + 1) // 2, self.aggregator.needed(cohort))

    @property
    def mask_threshold(self) -> int:
        """How many clients it takes to undo masks, where a round's updates are added up under some."""
        return self.aggregator.needed(self.federation.cohort_size)

    @property
    def promise_of_examples(self) -> ExamplePrivacy | None:
        """What each client keeps of its examples, by itself; None: nothing is promised of single ones."""
        promise = self.privacy_component
        return promise if isinstance(promise, ExamplePrivacy) else None

    def plan_of_clients(self) -> PrivacyPlan:
        """Returns what the server does in each round to keep a promise of privacy of each client.

        Raises:
            ConfigError: No noise keeps it.
        """
        promise = self.privacy_component
        assert isinstance(promise, ClientPrivacy), self.privacy
        return promise.plan(self.federation.fraction, self.federation.num_rounds)

    def counted_times(self, num_examples: int) -> int:
        """Returns how often a client with so many examples counts in a sum, where its weight depends on them alone."""
        alike = (
            self.algorithm_component.counts_alike
            or self.pipeline.equal_weights
            or self.weighting_component.component_name() == "uniform"
        )
        return 1 if alike else num_examples

    def privacy_plan(self, num_examples: int) -> PrivacyPlan | None:
        """Returns what a client with so many examples does to keep the run's promise; None: there is none.

        The server and the client compute the same one.

        Raises:
            ConfigError: No noise keeps it.
        """
        promise = self.promise_of_examples
        if promise is None:
            return None
        uses = sum(phase.repeats for phase in self.objective_component.phases() if phase.uses_examples)
        return promise.plan(
            self.algorithm_component.private_mechanism,
            num_examples,
            self.local.batch_size,
            uses * self.local.steps,
            self.federation.num_rounds,
        )

    @property
    def needs_label_counts(self) -> bool:
        """Whether the server must know how many images of each class every client holds."""
        return self.algorithm_component.needs_label_counts or self.weighting_component.needs_label_counts


def upgraded(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration that an earlier version wrote, by dotted keys, as this one would write it.

    Keys that have moved are those of today, and components have the defaults of options that they did not have then.
    What cannot be read stays as it is.
    """
    found = renamed_settings.renewed(flat)
    for key in TABLES.keys() & found.keys():
        with suppress(ConfigError):
            found[key] = spelled_out(key, str(found[key]))
    return found
