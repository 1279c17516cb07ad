"""How each library is asked: a function that loads it and returns what answers one query.

Each runs in its own library's environment, so libraries are imported where they are used.
An answer holds the prediction and, where there are any, a log-likelihood for each label.
The functions' first lines are the table's notes.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
Answer = Callable[[Row], Row]
LONGEST = 16  # tokens of the longest label
ROOM = 64  # tokens for an answer wrapped in DSPy's marks


@dataclass(frozen=True)
class Task:
    """What a scorer is given.

    :ivar answers: what follows the prompt for each label: white space, label, line end
    :ivar policy: the settings that ragicl composed the prompts with
    :ivar folder: where the index, its examples and the vectors are
    """

    labels: list[str]
    answers: list[str]
    policy: dict[str, Any]
    folder: Path
    model: Path
    dtype: str

    def lines(self, name: str) -> list[Row]:
        """Return the rows of a file in the folder."""
        text = (self.folder / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def load(self) -> tuple[Any, Any]:
        """Return model and tokenizer, as transformers loads them."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(self.model, dtype=getattr(torch, self.dtype))
        return model, AutoTokenizer.from_pretrained(self.model)

    def writer(self, **options: Any) -> Any:
        """Return a pipeline that writes greedily, and returns no more than it wrote."""
        from transformers import pipeline

        model, tokenizer = self.load()
        greedy: Row = {"do_sample": False, "return_full_text": False, **options}
        return pipeline("text-generation", model=model, tokenizer=tokenizer, **greedy)

    def decided(self, scores: Sequence[float], by: Sequence[float] | None = None) -> Row:
        """Return the label with the highest of `by`, which is the scores where nothing else is."""
        key = scores if by is None else by
        best = max(range(len(key)), key=key.__getitem__)
        return {"prediction": self.labels[best], "scores": [float(score) for score in scores]}


def ragicl_exact(task: Task) -> Answer:
    """`Engine.predict` with `exact`; its time includes embedding, search and composing."""
    return _engine(task, exact=True)


def ragicl(task: Task) -> Answer:
    """`Engine.predict` as it comes; its time includes embedding, search and composing."""
    return _engine(task, exact=False)


def _engine(task: Task, *, exact: bool) -> Answer:
    from ragicl import Engine, Policy

    policy = Policy(**task.policy, exact=exact)
    engine = Engine.open(task.folder / "index", policy=policy, dtype=task.dtype)

    def answer(query: Row) -> Row:
        predicted = engine.predict(query["text"])
        probs = [predicted.probs[label] for label in task.labels]
        return {"prediction": predicted.output, "scores": _logs(probs)}

    return answer


def per_label(task: Task) -> Answer:
    """Plain transformers, one forward for each label, logits of the label's tokens alone."""
    import torch

    model, tokenizer = task.load()

    def score(prompt: str, label: str) -> float:
        start = len(tokenizer(prompt)["input_ids"])
        ids = torch.tensor([tokenizer(prompt + label)["input_ids"]])
        length = ids.shape[1] - start
        with torch.inference_mode():
            logits = model(ids, logits_to_keep=length + 1, use_cache=False).logits[0, :-1]
        chosen = logits.float().log_softmax(dim=-1).gather(1, ids[0, start:, None])
        return float(chosen.sum())

    return lambda query: task.decided([score(query["prompt"], label) for label in task.answers])


def cappr(task: Task) -> Answer:
    """`classify`, prompt cached, all labels in one batch; decides by the mean over tokens."""
    from cappr.huggingface import classify
    from cappr.utils.classify import agg_log_probs

    pair = task.load()

    def answer(query: Row) -> Row:
        found = classify.log_probs_conditional(
            query["prompt"], task.answers, pair, end_of_prompt="", show_progress_bar=False
        )
        return task.decided([sum(tokens) for tokens in found], list(agg_log_probs(found)))

    return answer


def lm_eval(task: Task) -> Answer:
    """`HFLM.loglikelihood`, one request for each label as its multiple-choice tasks make them."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(task.model), dtype=task.dtype, device="cpu", batch_size=1)

    def answer(query: Row) -> Row:
        requests = [
            Instance("loglikelihood", {}, (query["prompt"], label), number)
            for number, label in enumerate(task.answers)
        ]
        found = lm.loglikelihood(requests, disable_tqdm=True)
        return task.decided([score for score, _ in found])

    return answer


def skorch(task: Task) -> Answer:
    """`FewShotClassifier` with `prompt="{text}"`, so that it reads the same prompts; caching on."""
    from skorch.llm import FewShotClassifier

    model, tokenizer = task.load()
    classifier = FewShotClassifier(
        model=model, tokenizer=tokenizer, prompt="{text}", probas_sum_to_1=False, max_samples=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the template names neither labels nor examples
        classifier.fit([""] * len(task.answers), task.answers)
    order = [list(classifier.classes_).index(label) for label in task.answers]

    def answer(query: Row) -> Row:
        probs = classifier.predict_proba([query["prompt"]])[0][order]
        classifier.clear_model_cache()  # no other query has this prompt
        return task.decided(_logs(probs.tolist()), probs.tolist())

    return answer


def openicl(task: Task) -> Answer:
    """`PPLInferencer`, the prompt as its test input; decides by the mean over prompt and label."""
    from datasets import Dataset, DatasetDict
    from openicl import DatasetReader, PPLInferencer, PromptTemplate, ZeroRetriever

    model, tokenizer = task.load()
    out = task.folder / "openicl"
    inferencer = PPLInferencer(
        model_name=model, tokenizer_name=tokenizer, output_json_filepath=str(out)
    )
    pairs = zip(task.labels, task.answers, strict=True)
    template = PromptTemplate(
        {label: "</E></P>" + text for label, text in pairs}, {"prompt": "</P>"}, ice_token="</E>"
    )

    def answer(query: Row) -> Row:
        row = Dataset.from_list([{"prompt": query["prompt"], "label": task.labels[0]}])
        data = DatasetDict({"train": row, "test": row})
        reader = DatasetReader(data, input_columns=["prompt"], output_column="label")
        predicted = inferencer.inference(ZeroRetriever(reader), prompt_template=template)[0]
        written = json.loads((out / "predictions.json").read_text())["0"]
        means = [-written[f"label: {label}"]["PPL"] for label in task.labels]
        tokens = [inferencer.get_input_token_num(query["prompt"] + text) for text in task.answers]
        scores = [mean * number for mean, number in zip(means, tokens, strict=True)]
        return {"prediction": predicted, "scores": scores}

    return answer


def langchain(task: Task) -> Answer:
    """Selector over FAISS, greedy `HuggingFacePipeline` to the line's end; nearest come first.

    It retrieves by itself, from the same examples by the same vectors; the query's is looked up.
    """
    from langchain_community.vectorstores import FAISS
    from langchain_core.example_selectors import SemanticSimilarityExampleSelector
    from langchain_core.prompts import FewShotPromptTemplate, PromptTemplate
    from langchain_huggingface import HuggingFacePipeline

    vectors, pool = vectors_of(task), task.lines("pool.jsonl")
    pairs = [(row["text"], vectors[row["text"]].tolist()) for row in pool]
    store = FAISS.from_embeddings(pairs, lambda text: vectors[text].tolist(), metadatas=pool)
    selector = SemanticSimilarityExampleSelector(vectorstore=store, input_keys=["text"])
    template = FewShotPromptTemplate(
        example_selector=selector,
        example_prompt=PromptTemplate.from_template("Text: {text}\nLabel: {label}"),
        prefix="Classify each text.",
        suffix="Text: {text}\nLabel:",
        input_variables=["text"],
        example_separator="\n",
    )
    writer = task.writer(max_new_tokens=LONGEST, stop_sequence=["\n"])
    chain = template | HuggingFacePipeline(pipeline=writer)

    def answer(query: Row) -> Row:
        selector.k = query["shots"]
        return {"prediction": chain.invoke({"text": query["text"]}).strip()}

    return answer


def vectors_of(task: Task) -> dict[str, Any]:
    """Return the vectors of all examples and queries by their text."""
    import numpy as np

    texts = [row["text"] for row in task.lines("texts.jsonl")]
    return dict(zip(texts, np.load(task.folder / "vectors.npy"), strict=True))


def dspy(task: Task) -> Answer:
    """`KNNFewShot`, nothing bootstrapped, a chat prompt of its own that lists all labels.

    It retrieves by itself, from the same examples by the same vectors; the query's is looked up.
    """
    import dspy
    import numpy as np
    from dspy.utils.exceptions import AdapterParseError

    vectors = vectors_of(task)
    label = Literal[tuple(task.labels)]  # type: ignore[valid-type]
    fields = {"text": (str, dspy.InputField()), "label": (label, dspy.OutputField())}
    few_shot = dspy.KNNFewShot(
        1,
        [dspy.Example(**row).with_inputs("text") for row in task.lines("pool.jsonl")],
        vectorizer=dspy.Embedder(
            lambda texts: np.stack([vectors[text.removeprefix("text: ")] for text in texts]),
            caching=False,
        ),
        max_bootstrapped_demos=0,
        max_labeled_demos=task.policy["k"],
    )
    dspy.configure(lm=dspy.LM("local/model", engine=Local(task), cache=False, max_tokens=ROOM))
    program = few_shot.compile(dspy.Predict(dspy.Signature(fields, "Classify each text.")))

    def answer(query: Row) -> Row:
        few_shot.KNN.k = query["shots"]
        try:
            return {"prediction": program(text=query["text"]).label}
        except AdapterParseError:
            return {"prediction": ""}

    return answer


class Local:
    """A transformers pipeline as DSPy's engine: a chat in, text out, no server between."""

    def __init__(self, task: Task) -> None:
        self._writer = task.writer(max_new_tokens=ROOM)

    def complete(self, request: Any) -> Any:
        """Answer one request."""
        from dspy.lm15 import Message, Response, TextPart, Usage

        text = self._writer(_messages(request))[0]["generated_text"]
        message = Message.assistant([TextPart(text)])
        return Response(None, request.model, message, finish_reason="stop", usage=Usage())

    def close(self) -> None:
        """Hold nothing that has to be let go."""


def _messages(request: Any) -> list[dict[str, str]]:
    """Return a request of DSPy's as messages that a chat template takes."""
    system = request.system or ""
    text = system if isinstance(system, str) else "".join(part.text for part in system)
    turns = [{"role": turn.role, "content": turn.text or ""} for turn in request.messages]
    return [{"role": "system", "content": text}, *turns] if text else turns


def _logs(probs: Sequence[float]) -> list[float]:
    return [math.log(p) if p > 0 else -1e9 for p in probs]


ADAPTERS: dict[str, Callable[[Task], Answer]] = {
    load.__name__: load
    for load in (ragicl_exact, ragicl, per_label, cappr, lm_eval, skorch, openicl, langchain, dspy)
}
