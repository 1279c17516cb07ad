"""From a spec to what opens it: the built-in kinds, and the kinds of installed plugins.

A spec is ``kind:NAME``, or the name of a packaged default. A built-in kind is a line in a table;
its module is imported when the first spec needs it. Another package adds a kind by an entry point
in the group ``ragicl.lms`` or ``ragicl.encoders``: its name is the kind, its object is called as
the built-in openers are. Entry points are looked up only where a kind is not built in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ragicl.errors import BackendError, first_line, quoted

ENCODERS = {
    "minilm": "ragicl.backends.minilm:open_minilm",
    "minilm-bf16": "ragicl.backends.sentence_transformers:open_minilm_bf16",
    "st:NAME": "ragicl.backends.sentence_transformers:open_st",
    "st-bf16:NAME": "ragicl.backends.sentence_transformers:open_st_bf16",
    "fake:NAME": "ragicl.backends.fake:open_encoder",
}
LMS = {
    "smollm2": "ragicl.backends.hf.opening:open_smollm2",
    "hf:NAME": "ragicl.backends.hf.opening:open_hf",
    "fake:NAME": "ragicl.backends.fake:open_lm",
    "fake-text:NAME": "ragicl.backends.fake:open_text_lm",
    "fake-choice:NAME": "ragicl.backends.fake:open_choosing_lm",
    "fake-features:NAME": "ragicl.backends.fake:open_featuring_lm",
}

Opener = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """The kinds of one sort of backend.

    :ivar what: the sort, for people
    :ivar group: of the entry points that add kinds
    :ivar built_in: from ``kind:NAME``, or a default's name, to ``module:opener``
    """

    what: str
    group: str
    built_in: dict[str, str]

    def open(self, spec: str, **options: Any) -> Any:
        """Return the backend that a spec names.

        :param options: of the opener
        :raises BackendError: where the kind is unknown, or what it needs cannot be imported
        """
        kind, colon, name = spec.partition(":")
        if colon and not name:
            raise self._unknown(spec)
        if target := self.built_in.get(f"{kind}:NAME" if colon else kind):
            opener = self._imported(spec, target)
        else:
            opener = self._plugin(spec, kind)
        return opener(name, **options) if colon else opener(**options)

    def _imported(self, spec: str, target: str) -> Opener:
        module, _, attribute = target.partition(":")
        try:
            opener: Opener = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise BackendError(
                f"the {self.what} {quoted(spec)} needs {error.name}: pip install {error.name}"
            ) from error
        return opener

    def _plugin(self, spec: str, kind: str) -> Opener:
        found = [point for point in self._installed() if point.name == kind]
        if not found or ":" not in spec:
            raise self._unknown(spec)
        try:
            opener: Opener = found[0].load()
        except Exception as error:  # a plugin is a program, and may raise anything
            raise BackendError(
                f"the plugin {quoted(kind)} ({found[0].value}) cannot be imported: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
        return opener

    def _installed(self) -> list[EntryPoint]:
        return sorted(entry_points(group=self.group), key=lambda point: point.name)

    def _unknown(self, spec: str) -> BackendError:
        installed = (f"{point.name}:NAME" for point in self._installed())
        known = dict.fromkeys((*self.built_in, *installed))
        return BackendError(f"unknown {self.what} {quoted(spec)}; known: {', '.join(known)}")


encoders = Registry("encoder", "ragicl.encoders", ENCODERS)
lms = Registry("language model", "ragicl.lms", LMS)
