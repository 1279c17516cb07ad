"""From evidence to predictions: the language model's alone, the blend's, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ragicl.calibration.conformal import ConformalRecord, label_set
from ragicl.calibration.distributions import from_log_probs, likeliest
from ragicl.index import Index
from ragicl.inference.blender import Blender
from ragicl.inference.tuned_settings import Tuned
from ragicl.policy import Policy
from ragicl.protocols import FloatArray
from ragicl.records import DecidedBy, Prediction
from ragicl.retrieval.retriever import RetrievalResult
from ragicl.timing import Timings, shared, timed


def from_scores(
    found: Sequence[RetrievalResult], timings: Timings, labels: tuple[str, ...], scores: FloatArray
) -> Iterator[Prediction]:
    """Yield what the language model's likelihoods alone decide.

    :param scores: log P(label | prompt) in nats, shape (queries, labels)
    """
    for own, log_probs in zip(found, scores, strict=True):
        probs = from_log_probs(log_probs, labels)
        yield Prediction(
            likeliest(probs), probs, own.neighbors, None, timings, decided_by="likelihoods"
        )


class BlendedAnswers:
    """Predictions of a blend, with label sets, abstention and percentiles as a policy asks.

    :param reader: describes the language model that reads queries for their states; None without
    """

    def __init__(
        self,
        index: Index,
        policy: Policy,
        tuned: Tuned | None,
        blender: Blender,
        reader: Callable[[], str | None],
    ) -> None:
        self._index = index
        self._policy = policy
        self._tuned = tuned
        self._blender = blender
        self._reader = reader

    def of(
        self,
        found: Sequence[RetrievalResult],
        timings: Timings,
        labels: tuple[str, ...],
        scores: FloatArray | None = None,
    ) -> Iterator[Prediction]:
        """Yield what all sources decide; without scores, the sources without prompts.

        :param scores: log P(label | prompt) in nats, shape (queries, labels)
        """
        spent: Timings = {}
        self._blender.load()  # fitting is no query's time
        with timed(spent, "blend"):
            rows, percentiles = self._blender.answers(found, labels, scores)
        timings = timings | shared(spent, len(found))
        reader = self._reader()
        by: DecidedBy = "probe" if scores is None and reader is None else "blend"
        for own, row, share in zip(found, rows, percentiles, strict=True):
            probs = dict(zip(labels, row.tolist(), strict=True))
            near = own.neighbors
            if scores is None:
                near = own.voters[: self._policy.decision.voters]
            answer = Prediction(
                likeliest(probs),
                probs,
                near,
                None,
                timings,
                reader,
                decided_by=by,
            )
            yield self.judged(replace(answer, percentile=float(share)))

    def exits(
        self, votes: dict[int, Prediction], found: Sequence[RetrievalResult]
    ) -> dict[int, Prediction]:
        """Return predictions of the vote, by position, judged as the blend's are."""
        if not votes:
            return votes
        self._blender.load()
        percentiles = self._blender.percentiles([found[i] for i in votes])
        return {
            i: self.judged(replace(vote, percentile=float(share)))
            for (i, vote), share in zip(votes.items(), percentiles, strict=True)
        }

    def judged(self, prediction: Prediction) -> Prediction:
        """Return a prediction with the label set and the abstention that the policy asks for.

        :raises TaskError: where these go by a tuning that was of other settings or examples
        """
        asked = self._policy.abstention
        record = ConformalRecord()
        if self._tuned is not None and not asked.set_coverage is asked.coverage is None:
            record = self._tuned.conformal_record(self._policy, len(self._index))
        if asked.set_coverage is not None:
            held = label_set(prediction.probs, record.quantile(asked.set_coverage))
            prediction = replace(prediction, label_set=held)
        if asked.coverage is not None:
            threshold = record.abstention_threshold(asked.coverage)
            unsure = prediction.probs[prediction.output] < threshold
            prediction = replace(prediction, abstained=unsure)
        strange = (prediction.percentile or 0.0) < (asked.ood_level or 0.0)
        return replace(prediction, out_of_scope=strange)
