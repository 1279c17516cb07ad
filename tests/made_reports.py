"""Reports with made-up figures, the same in each run: nothing here was measured."""

import random

from msgspec.structs import replace

from ragicl.evaluate.results import (
    Bin,
    Cost,
    Curve,
    Distance,
    Interval,
    Item,
    LabelScores,
    Method,
    Paired,
    Point,
    PowerLaw,
    Report,
    SetReport,
    Shown,
    TextScores,
)

ROWS = 400
LABEL_METHODS = {  # accuracy, training in seconds, bytes, seconds and tokens a query
    "ragicl": (0.782, 0.0, 0, 0.152, 412.5),
    "icl": (0.642, 0.0, 0, 0.148, 412.5),
    "majority": (0.188, 0.0, 0, 2e-6, 0.0),
    "knn-1": (0.655, 0.0, 0, 0.0058, 0.0),
    "knn": (0.735, 0.0, 0, 0.0061, 0.0),
    "random-icl": (0.523, 0.0, 0, 0.149, 401.0),
    "knn-prompting": (0.718, 84.0, 98_304, 0.161, 398.0),
    "probe": (0.861, 2.4, 9_240, 0.0057, 0.0),
    "head": (0.842, 262.0, 13_824, 0.049, 31.0),
    "partial": (0.878, 811.0, 56_623_104, 0.048, 31.0),
    "full": (0.905, 2210.0, 269_030_400, 0.051, 31.0),
    "lora": (0.912, 1802.0, 1_843_200, 0.058, 31.0),
    "prompt-tuning": (0.801, 2904.0, 23_040, 0.066, 51.0),
}
TEXT_METHODS = {
    "ragicl": (0.436, 0.0, 0, 2.31, 733.0),
    "lora": (0.452, 3120.0, 1_843_200, 1.62, 158.0),
    "full": (0.447, 4210.0, 269_030_400, 1.58, 158.0),
}


def interval(value, half=0.03, most=1.0):
    return Interval(value, max(value - half, 0.0), min(value + half, most))


def paired(difference, half=0.03, p=None):
    real = abs(difference) > half
    return Paired(
        Interval(difference, difference - half, difference + half),
        (0.0005 if real else 0.31) if p is None else p,
    )


def label_scores(accuracy, rng=None, ece=0.06):
    noise = rng.uniform(-0.02, 0.02) if rng else 0.0
    return LabelScores(
        interval(accuracy),
        interval(max(accuracy - 0.04 + noise, 0.0)),
        interval(1.9 * (1 - accuracy) + 0.1 + noise, 0.08, 20.0),
        interval(ece, 0.02),
    )


def text_scores(rouge):
    return TextScores(interval(rouge / 9, 0.02), interval(rouge), interval(rouge + 0.03))


def bins(accuracy, rng, over=0.08):
    found = []
    for tenth in range(2, 10):
        confidence = tenth / 10 + rng.uniform(0.01, 0.09)
        right = min(max(confidence - over + (accuracy - 0.8) / 2 + rng.gauss(0, 0.03), 0), 1)
        found.append(Bin(int(4 + tenth**2.2 * rng.uniform(0.5, 1)), confidence, right))
    return tuple(found)


def label_method(name, rng, clean=0.004):
    accuracy, *cost = LABEL_METHODS[name]
    return Method(
        name,
        label_scores(accuracy, rng, 0.13 if name == "ragicl" else 0.05),
        label_scores(accuracy - clean, rng),
        Cost(*cost),
        {"rate": 2e-4, "epochs": 3, "stopped early": False} if cost[0] > 10 else {},
        bins(accuracy, rng),
        None if name == "ragicl" else paired(accuracy - LABEL_METHODS["ragicl"][0]),
    )


def distance(name, mean, floor):
    return Distance(
        name,
        interval(mean, 0.02),
        mean * 0.7,
        min(mean * 2.3, 1.0),
        interval(1 - mean, 0.03),
        interval(mean + 0.003, 0.02),
        noise_floor=interval(floor, 0.012) if floor is not None else None,
        above=None
        if floor is None
        else Interval(mean - floor, mean - floor - 0.02, mean - floor + 0.02),
        icl=interval(mean * 2, 0.02),
    )


def curve(over, sizes, reference="full", fit=False):
    points = tuple(
        Point(size, interval(0.62 * (size + 1) ** -0.22 + 0.05, 0.03), interval(accuracy, 0.04))
        for size, accuracy in zip(sizes, (0.41, 0.55, 0.63, 0.70, 0.75, 0.782), strict=False)
    )
    law = PowerLaw(interval(0.62, 0.11), interval(0.22, 0.06), interval(0.05, 0.04))
    note = "" if fit else "too few sizes"
    return Curve(over, reference, points, law if fit else None, note)


def item(rng, text="how far is it from <b>denver</b> to aspen ?"):
    shown = tuple(
        Shown(f"what | is the *distance* of number {n} ?", "NUM", 0.9 - n / 10) for n in range(3)
    )
    return Item(text, "NUM", "LOC", rng.uniform(0.6, 0.9), "NUM", 0.97, 0.84, shown)


def label_set(**changes):
    rng = random.Random(4)
    made = SetReport(
        name="trec6",
        kind="classify",
        pool=500,
        rows=ROWS,
        leaked=6,
        labels=6,
        lm="SmolLM2-135M-Instruct, 4-bit file, bf16",
        encoder="all-MiniLM-L6-v2",
        policy={"k": 8, "budget": None, "decide": "lm", "exact": False},
        methods=tuple(label_method(name, rng) for name in LABEL_METHODS),
        distances=(
            distance("full", 0.268, 0.071),
            distance("lora", 0.241, 0.084),
            distance("partial", 0.255, 0.062),
            distance("head", 0.262, 0.012),
            distance("prompt-tuning", 0.221, 0.215),
            distance("probe", 0.302, None),
        ),
        curves=(
            curve("pool", (25, 50, 100, 200, 350, 500), fit=True),
            curve("k", (0, 1, 2, 4, 8, 16)),
            curve("budget", (128, 256, 512, 1024, 2048)),
        ),
        worst=tuple(item(rng, f"item {n}: how far is <b>denver</b> ?") for n in range(10)),
    )
    return replace(made, **changes)


def text_set(**changes):
    methods = [
        Method(
            name,
            text_scores(rouge),
            None,
            Cost(*cost),
            against=None if name == "ragicl" else paired(rouge - TEXT_METHODS["ragicl"][0]),
        )
        for name, (rouge, *cost) in TEXT_METHODS.items()
    ]
    gaps = [
        replace(distance(name, mean, floor), maximum=interval(0.91), clean=None, icl=None)
        for name, mean, floor in (("lora", 0.284, 0.102), ("full", 0.311, None))
    ]
    made = SetReport(
        name="medical summaries",
        kind="generate",
        pool=900,
        rows=100,
        leaked=0,
        labels=0,
        lm="SmolLM2-135M-Instruct, 4-bit file, bf16",
        encoder="all-MiniLM-L6-v2",
        policy={"k": 8, "max_tokens": 64},
        methods=tuple(methods),
        distances=tuple(gaps),
        curves=(curve("pool", (100, 900), "lora"),),
        worst=(item(random.Random(1), "dear doctor,\nmy knee <script>alert(1)</script> hurts"),),
    )
    return replace(made, **changes)


def report(*sets):
    return Report(
        sets or (label_set(), text_set()),
        "ragicl evaluate eval/suites/questions.toml --out found",
        "2025-03-14",
        "2 cores, no accelerator",
        {"ragicl": "0.1.0", "torch": "2.13.0"},
    )
