"""The options that commands share."""

import csv

from cli_runner import LM, ROWS, fails, lines, misused, run, write_rows

from ragicl import Index


def test_labels_with_commas_are_quoted(work):
    rows = [{"text": f"{word} {n}", "label": label} for n in range(3)
            for word, label in [("sun", "hot, dry"), ("ice", "cold"), ("fog", "wet")]]  # fmt: skip
    write_rows(work / "w.jsonl", rows)
    run("index", "w.jsonl", "--encoder", "fake:a")
    arguments = ["predict", "indexes/w", "sun", *LM, "--probs", "--labels", '"hot, dry", wet']
    assert set(lines(run(*arguments))[0]["probs"]) == {"hot, dry", "wet"}


SELECTIONS = ["nearest", "bm25", "hybrid", "mmr", "balanced", "coverage", "dpp", "random"]


def test_demonstrations_by_strategy_and_order(things):
    for select in SELECTIONS:
        options = ["--select", select, "--order", "nearest-first", "--k", 4]
        (row,) = lines(run("predict", things, "a ripe pear", *options, *LM))
        assert len(row["neighbors"]) == row["kept"] == 4
        if select in ("balanced", "coverage"):
            outputs = [n["output"] for n in row["neighbors"]]
            assert outputs.count("fruit") >= 2
    shown = {
        order: run("prompt", things, "a ripe pear", "--k", 4, "--order", order, *LM).stdout
        for order in ("nearest-last", "nearest-first")
    }
    shots = {order: text.split("Text: ")[1:-1] for order, text in shown.items()}
    assert shots["nearest-last"] == shots["nearest-first"][::-1]
    misused("prompt", things, "x", "--select", "q", match="Invalid value for '--select'")


def test_columns_of_a_file_serve_as_filters(work):
    with (work / "shops.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "shop", "year"])
        writer.writeheader()
        for n, row in enumerate(ROWS):
            writer.writerow(row | {"shop": "north" if n % 3 else "south=1", "year": 2020 + n % 2})
    run("index", "shops.csv", "--encoder", "fake:a")
    with Index.open("indexes/shops") as opened:
        metas = {e.id: e.meta for e in opened}
    where = ["--where", "shop=south=1", "--where", "year=2020"]
    for options in (["--select", "bm25", *LM], ["--decide", "knn"]):
        asked = run("predict", "indexes/shops", "a sweet apple", "--k", 9, *where, *options)
        (row,) = lines(asked)
        assert len(row["neighbors"]) == 4
        for neighbor in row["neighbors"]:
            assert metas[neighbor["id"]] == {"shop": "south=1", "year": "2020"}
    wrong = ["predict", "indexes/shops", "x", "--decide", "knn", "--where"]
    fails(*wrong, "shop=east", match="has shop=east; shop is north, south=1")
    fails(*wrong, "town=x", match="has town=x; they have shop, year")
    fails(*wrong, "shop", match="write it as KEY=VALUE")


def test_deprecated_options_work_with_one_warning(things):
    old = run("predict", things, "quantum flux", "--scope", 0.9, *LM)
    new = run("predict", things, "quantum flux", "--ood-level", 0.9, *LM)
    assert lines(old)[0]["out_of_scope"] is lines(new)[0]["out_of_scope"] is True
    assert old.stderr.count("Warning: --scope is deprecated; use --ood-level") == 1
    assert "deprecated" not in new.stderr
