"""The prompting settings that are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ragicl.backends.capabilities import chat_format
from ragicl.engine import Engine
from ragicl.errors import BackendError, TaskError
from ragicl.policy import Selection
from ragicl.prompting.ordering import Ordering
from ragicl.prompting.template import named_template


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting of how to prompt.

    :ivar template: ``chat``, or None for the engine's own
    """

    k: int = 8
    select: Selection = "nearest"
    order: Ordering = "nearest-last"
    ensemble: int = 1
    template: str | None = None

    @property
    def name(self) -> str:
        """A readable description, different for different candidates."""
        template = f", {self.template}" if self.template else ""
        ensemble = f", {self.ensemble} prompts" if self.ensemble > 1 else ""
        return f"{self.select} {self.k}, {self.order}{ensemble}{template}"

    @property
    def read(self) -> int:
        """Number of demonstrations that the model reads for a text."""
        return self.k * self.ensemble

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the policy that it sets."""
        return {name: value for name, value in asdict(self).items() if name != "template"}

    def prompting(self, engine: Engine) -> Engine:
        """Return an engine that prompts this way, and decides by the language model alone."""
        template = engine.template
        if self.template is not None:
            text = getattr(template, "instruction", None)  # a template may have none
            template = named_template(self.template, "classify", text, chat_format(engine.lm))
        alone = engine.policy.replace(
            decide="lm",
            exit=None,
            set_coverage=None,
            coverage=None,
            ood_level=None,
            **self.fields,
        )
        return Engine(engine.index, engine.lm, template, alone)


def possible(candidates: Sequence[Candidate], engine: Engine) -> list[Candidate]:
    """Return the candidates that an engine's model and policy allow.

    Not every model has a chat format.

    :raises BackendError: where the model allows none
    :raises TaskError: where the policy allows none
    """
    found, refused = [], None
    for candidate in candidates:
        try:
            candidate.prompting(engine)
        except (BackendError, TaskError) as error:
            refused = error
        else:
            found.append(candidate)
    if refused is not None and not found:
        raise refused
    return found


CANDIDATES = (
    Candidate(8),
    Candidate(4),
    Candidate(2),
    Candidate(16),
    Candidate(8, "balanced"),
    Candidate(4, "balanced"),
    Candidate(8, "coverage"),
    Candidate(8, "hybrid"),
    Candidate(8, "mmr"),
    Candidate(8, "dpp"),
    Candidate(8, order="nearest-first"),
    Candidate(4, ensemble=3),
    Candidate(8, template="chat"),
)
