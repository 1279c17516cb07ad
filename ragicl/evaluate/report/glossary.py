"""What the names and figures of a report mean, for a reader who has met none of them."""

METHODS = {
    "ragicl": (
        "what `ragicl predict` answers. Where labels are chosen: icl, the neighbours' vote and "
        "classifiers on the encoder's vectors and on the language model's states together. Where "
        "texts are written: a frozen language model reads the nearest examples, then the question"
    ),
    "icl": (
        "the language model alone (in-context learning): frozen, it reads the nearest examples, "
        "then the question"
    ),
    "majority": "always the most frequent label",
    "knn-1": "the label of the nearest example; no language model",
    "knn": "the vote of the nearest examples; no language model",
    "random-icl": "as icl, with examples drawn at random",
    "knn-prompting": "the vote of the examples that the frozen language model answers most alike",
    "probe": "logistic regression on the encoder's vectors; no language model",
    "head": "the language model frozen, with a trained classification layer on its last state",
    "bare-states": "classifiers on the frozen language model's inner states of the text alone",
    "icl-states": (
        "classifiers on the frozen language model's inner states where its answer would begin, "
        "after one example of each label"
    ),
    "partial": "the last blocks of the language model trained",
    "full": "all weights of the language model trained",
    "lora": "small matrices trained beside the language model's frozen weights",
    "prompt-tuning": "a few input vectors trained, the language model frozen",
    "two-stage": "trained on another task first, then on this one",
    "multi-task": "one model trained on several sets",
}

FIGURES = {
    "interval": (
        "the range beside a value. Test rows are drawn again and again (bootstrap); 95 of 100 "
        "times the value falls into it. Few rows make it wide."
    ),
    "difference": (
        "a method's score minus that of ragicl on the same rows. It is real where its interval "
        "leaves out 0; p is how often swapping the two in random rows makes as great a difference."
    ),
    "macro-F1": "the mean of the labels' F1 scores: a rare label counts as much as a frequent one.",
    "NLL": (
        "mean negative log-likelihood of the right label, in nats; 0 is perfect, and being sure "
        "and wrong costs most."
    ),
    "ECE": (
        "expected calibration error: how far the probability of answers is from the share of them "
        "that is right, on average."
    ),
    "ROUGE-L, chrF": "how much of the right text an answer shares, in words and in characters.",
    "total variation": (
        "how far two distributions over answers are apart: 0 is the same, 1 has nothing in common. "
        "At 0.2, a fifth of the probability lies on other answers."
    ),
    "noise floor": (
        "the total variation between two trainings of the same reference with other seeds, by the "
        "settings chosen for the first. Fine-tuning is that far from itself; no method can be "
        "asked to come nearer."
    ),
    "mean of icl": "the same distance from icl, the language model alone, to the reference.",
    "agreement": "the share of rows (for texts, of tokens) with the same likeliest answer.",
    "leaked rows": "test rows whose text also stands in the index, where it can be looked up.",
    "training": "the time of training, the search for its settings included.",
    "stored": "what a method needs beside the base model and the index (1 kB is 1,000 bytes).",
    "tokens an answer": "what the language model reads for an answer; 0 where none is asked.",
}
