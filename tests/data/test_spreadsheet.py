"""Excel workbooks, written here by hand: a zip file of XML."""

import zipfile

import pytest

from ragicl.data.examples import DataFile
from ragicl.errors import DataError
from ragicl.records import Example

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KINDS = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def cell(value):
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t xml:space="preserve">{value}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def write(path, **sheets):
    links = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE}/worksheet" Target="worksheets/s{n}.xml"/>'
        for n in range(len(sheets))
    )
    names = "".join(
        f'<sheet name="{own}" sheetId="{n + 1}" xmlns:r="{OFFICE}" r:id="r{n}"/>'
        for n, own in enumerate(sheets)
    )
    types = "".join(
        f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="{KINDS}.worksheet+xml"/>'
        for n in range(len(sheets))
    )
    root = f'<Relationship Id="b" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    book = f'<Override PartName="/xl/workbook.xml" ContentType="{KINDS}.sheet.main+xml"/>'
    linked = f'<Relationships xmlns="{PACKAGE}/relationships">{{}}</Relationships>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package'
        f'.relationships+xml"/>{book}{types}</Types>',
        "_rels/.rels": linked.format(root),
        "xl/workbook.xml": f"<workbook {MAIN}><sheets>{names}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": linked.format(links),
    }
    for n, rows in enumerate(sheets.values()):
        data = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        parts[f"xl/worksheets/s{n}.xml"] = (
            f"<worksheet {MAIN}><sheetData>{data}</sheetData></worksheet>"
        )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


HEADER = ["Text", "Label", "id", "stars", "flag"]


def read(path):
    told = []
    return list(DataFile(str(path), notify=told.append).examples()), told


def test_the_first_sheet_with_rows_is_read(tmp_path):
    rows = [HEADER, ["a\nb", "x", 1, 2.5, True], [None] * 5, ["c", "y", 2, 3, False]]
    write(tmp_path / "b.xlsx", Empty=[], Mails=rows, Notes=[["more"]])
    found, told = read(tmp_path / "b.xlsx")
    assert found == [
        Example("a\nb", "x", "1", {"stars": 2.5, "flag": True}),
        Example("c", "y", "2", {"stars": 3, "flag": False}),
    ]
    assert told == [f"{tmp_path / 'b.xlsx'}: the sheet 'Mails' is read; 1 more are not read"]


def test_a_bad_cell_is_named_by_its_row(tmp_path):
    write(tmp_path / "b.xlsx", A=[["text", "label"], ["a", "x"], [None, "y"]])
    with pytest.raises(DataError, match=r"b.xlsx: row 3: 'text' is empty"):
        read(tmp_path / "b.xlsx")


def test_a_workbook_without_rows(tmp_path):
    write(tmp_path / "b.xlsx", A=[])
    with pytest.raises(DataError, match="has no rows"):
        read(tmp_path / "b.xlsx")
