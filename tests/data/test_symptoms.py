"""What users of other loaders report in public, each tried here: the address names the report."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError

PANDAS = "https://github.com/pandas-dev/pandas/issues/"
DATASETS = "https://github.com/huggingface/datasets/issues/"
SETFIT = "https://github.com/huggingface/setfit/issues/"
LANGCHAIN = "https://github.com/langchain-ai/langchain/issues/"


def parquet(**columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


READ = {
    f"{PANDAS}5500 (end of file character)": (
        "r.csv",
        'text,label\na\x1ab,x\n"q \x1a",y\n',
        [("a\x1ab", "x"), ("q \x1a", "y")],
    ),
    f"{PANDAS}14012 (NUL ends a row)": ("r.csv", "text,label\na\0b,x\n", [("a\0b", "x")]),
    f"{PANDAS}24681 (N/A of a TSV is NaN)": ("r.tsv", "text\tlabel\nn/a\tN/A\n", [("n/a", "N/A")]),
    f"{PANDAS}32084 (null is a float)": ("r.csv", "text,label\nnull,NA\n", [("null", "NA")]),
    f"{DATASETS}4467 (null is None)": ("r.csv", "text,label\nnull,None\n", [("null", "None")]),
    f"{DATASETS}6460 (types change inside a column)": (
        "r.jsonl",
        '{"text": "a", "label": "x", "ner": [[0, 4, "P"]]}\n{"text": "b", "label": "y"}\n',
        [("a", "x"), ("b", "y")],
    ),
    f"{DATASETS}7322 (changed from object to array)": (
        "r.json",
        '[{"text": "a", "label": "x", "m": {}}, {"text": "b", "label": "y", "m": []}]',
        [("a", "x"), ("b", "y")],
    ),
    "https://github.com/RUC-NLPIR/FlashRAG/issues/132 (text, then numbers)": (
        "r.jsonl",
        '{"text": "a", "label": "x"}\n{"text": 5, "label": 1}\n',
        [("a", "x"), ("5", "1")],
    ),
    f"{SETFIT}226 (columns are there, and not found)": (
        "r.csv",
        "text,reason,label\na,r,x\n",
        [("a", "x")],
    ),
    f"{SETFIT}228 (labels that are text)": ("r.csv", "text,label\na,LABEL1\n", [("a", "LABEL1")]),
    "https://github.com/huggingface/setfit/pull/75 (sst2: sentence)": (
        "r.csv",
        "idx,sentence,label\n0,a,1\n",
        [("a", "1")],
    ),
    "https://github.com/crewAIInc/crewAI/issues/7466 (mark before a quoted name)": (
        "r.csv",
        '\ufeff"last, first",text,label\n"Doe, Jane",a,x\n',
        [("a", "x")],
    ),
    f"{LANGCHAIN}26434 (blanks before the names)": ("r.csv", "text, label\na,x\n", [("a", "x")]),
    "https://github.com/datasciencecampus/classifai/issues/21 (leading zeros)": (
        "r.csv",
        "id,text,label\n007,a,08\n",
        [("a", "08")],
    ),
    "https://github.com/milvus-io/milvus/issues/33197 (an index as a column)": (
        "r.parquet",
        parquet(text=["a"], label=["x"], __index_level_0__=[5]),
        [("a", "x")],
    ),
    "Parquet: categories": (
        "r.parquet",
        parquet(text=["a"], label=pa.array(["x"]).dictionary_encode()),
        [("a", "x")],
    ),
    "Parquet: decimals": (
        "r.parquet",
        parquet(text=["a"], label=pa.array([1], pa.decimal128(5, 2))),
        [("a", "1")],
    ),
    "line separators of Unicode are no line ends": (
        "r.csv",
        "text,label\na\u2028b,x\nc\x85d\x0ce,y\n",
        [("a\u2028b", "x"), ("c\x85d\x0ce", "y")],
    ),
    "line ends of old Macs": ("r.csv", "text,label\ra,x\rb,y\r", [("a", "x"), ("b", "y")]),
    "mixed line ends": ("r.csv", "text,label\r\na,x\nb,y\r\n", [("a", "x"), ("b", "y")]),
    "a line for Excel": ("r.csv", "sep=;\ntext;label\na;x\n", [("a", "x")]),
}
REFUSED = {
    f"{PANDAS}22140 (a quote alone)": ("r.csv", 'text,label\na,x\nb,"\nc,y\n', "r.csv:3: a quote"),
    f"{PANDAS}11493 (more cells)": (
        "r.csv",
        "text,label\na,x,1\n",
        "r.csv:2: 3 cells",
    ),
    f"{LANGCHAIN}19174 (fewer cells)": (
        "r.csv",
        "text,label\na\n",
        "r.csv:2: 1 cells",
    ),
    f"{LANGCHAIN}7479 (not UTF-8)": ("r.csv", b"text,label\na\x9d,x\n", "r.csv:2: not UTF-8"),
    f"{SETFIT}296 (some labels are missing)": ("r.csv", "text,label\na,\n", "r.csv:2: 'label' is"),
    "https://github.com/cleanlab/cleanlab/pull/1223 (NaN as a label)": (
        "r.parquet",
        parquet(text=["a", "b"], label=[0.0, float("nan")]),
        "row 2: 'label' is missing",
    ),
    "Parquet: bytes": (
        "r.parquet",
        parquet(text=["a"], label=pa.array([b"x"])),
        "row 1: 'label' is bytes",
    ),
    "two objects on a line": (
        "r.jsonl",
        '{"text": "a", "label": "x"}{"text": "b", "label": "y"}\n',
        "r.jsonl:1: not valid JSON",
    ),
}


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(e.input, e.output) for e in DataFile(str(path)).examples()]


@pytest.mark.parametrize("report", READ)
def test_what_others_misread_is_read(tmp_path, report):
    name, content, rows = READ[report]
    assert read(tmp_path, name, content) == rows


@pytest.mark.parametrize("report", REFUSED)
def test_what_cannot_be_read_is_one_line_that_names_the_place(tmp_path, report):
    name, content, words = REFUSED[report]
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
