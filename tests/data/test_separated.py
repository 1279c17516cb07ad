"""CSV and TSV: whose quotes are text, and whose enclose a cell."""

import csv
import random

import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

HEADER = "text\tlabel\n"
GLUE = '" good film\tpos\nbad film\tneg\nawful\tneg\nhe called it "\tpos\nnice\tpos\n'


@pytest.fixture
def read(tmp_path):
    def reading(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode())
        told = []
        data = DataFile(str(path), notify=told.append)
        for _ in range(2):  # what there is to say is said once
            rows = [(e.input, e.output) for e in data.examples()]
        return rows, told

    return reading


def written(rows, **dialect):
    from io import StringIO

    text = StringIO(newline="")
    csv.writer(text, delimiter="\t", **dialect).writerows([("text", "label"), *rows])
    return text.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_of_published_tsv_are_text(read, end):
    rows, _ = read("g.tsv", (HEADER + GLUE).replace("\n", end))
    assert rows == [
        ('" good film', "pos"),
        ("bad film", "neg"),
        ("awful", "neg"),
        ('he called it "', "pos"),
        ("nice", "pos"),
    ]


@pytest.mark.parametrize("quote", range(5))
@pytest.mark.parametrize("text", ['" {}', '"{}', '{}"', '{} "', '"{}" he said "so"', "{} 5'11\""])
def test_a_lone_quote_takes_no_other_row(read, text, quote):
    texts = [f"text {n}" for n in range(5)]
    texts[quote] = text.format(texts[quote])
    rows, _ = read("g.tsv", HEADER + "".join(f"{own}\tx\n" for own in texts))
    assert rows == [(own, "x") for own in texts]


ODD = [
    ("line 1\nline 2", "a"),
    ('he said "hi"', "b"),
    ('"', "a"),
    ("a\tb", "b"),
    ("plain", 'a "b"'),
    ('two\r\n\r\n"three"', "a"),
    ("def f():\n\treturn 1\n", "b"),
    ("last", "a"),
]


@pytest.mark.parametrize(
    "dialect",
    [{}, {"quoting": csv.QUOTE_ALL}, {"lineterminator": "\n"}],
    ids=["minimal", "all", "unix"],
)
def test_what_csv_writer_quotes_is_unquoted(read, dialect):
    rows, told = read("w.tsv", written(ODD, **dialect))
    assert rows == ODD
    assert told == []


@pytest.mark.parametrize("place", range(len(ODD) + 1))
def test_a_lone_quote_in_a_quoted_file_spoils_one_line(read, place):
    lines = written(ODD[:5]).split("\r\n")[:-1]
    lines.insert(1 + place % 5, '" alone\tc')
    rows, _ = read("w.tsv", "\r\n".join(lines) + "\r\n")
    assert sorted(rows) == sorted([*ODD[:5], ('" alone', "c")])


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_of_csv_writer(read, seed):
    pick = random.Random(seed)

    def text():
        return "x" + "".join(pick.choices('ab "\n', k=pick.randrange(12))) + "x"

    rows = [(text(), "abc"[n % 3]) for n in range(30)]
    assert read("w.tsv", written(rows))[0] == rows


def test_csv_warns_where_a_cell_swallows_what_may_be_rows(read):
    content = (HEADER + GLUE).replace("\t", ",").replace(' "', ' "')
    rows, told = read("g.csv", content)
    assert len(rows) == 2
    assert len(told) == 1
    assert "g.csv:2: a quoted cell runs over lines" in told[0]


def test_csv_says_nothing_of_texts_of_several_lines(read):
    rows, told = read("g.csv", 'text,label\n"Dear all\nthanks, and bye",x\nb,y\n')
    assert rows[0] == ("Dear all\nthanks, and bye", "x")
    assert told == []


def test_a_row_of_the_wrong_width_is_named_by_its_line(tmp_path):
    path = tmp_path / "w.tsv"
    path.write_text('text\tlabel\n"a\nb"\tx\n" c\td\te\n')
    with pytest.raises(DataError, match=r"w.tsv:4: 3 cells under 2 columns"):
        list(DataFile(str(path)).examples())
