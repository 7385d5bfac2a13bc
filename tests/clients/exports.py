"""Reads the exported files of a folder back and compares them: python exports.py HOSTILE_NAME ROWS"""

import csv
import datetime
import decimal
import sys

import openpyxl
import pyarrow.parquet

hostile, count = sys.argv[1], int(sys.argv[2])
names = ["id", "nom", "prenom", "date_embauche", "salaire_brut", "adresse"]

parquet = pyarrow.parquet.ParquetFile("rows.parquet")
assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
table = parquet.read()
assert table.column_names == names
assert str(table.schema.field("salaire_brut").type).startswith("decimal128"), table.schema
rows = table.to_pylist()
assert len(rows) == count, (len(rows), count)
by_id = {row["id"]: row for row in rows}
assert by_id[90001]["nom"] == hostile
assert by_id[90001]["salaire_brut"] == decimal.Decimal("30000.07")

plain = list(csv.reader(open("rows.csv", encoding="utf-8", newline="")))
assert plain[0] == names
french = list(csv.reader(open("fr.csv", encoding="utf-8-sig", newline=""), delimiter=";"))
assert open("fr.csv", "rb").read(3) == b"\xef\xbb\xbf"
assert open("rows.csv", "rb").read().endswith(b"\r\n")
sheet = openpyxl.load_workbook("rows.xlsx").active
assert sheet.freeze_panes == "A2" and sheet["A1"].font.bold
cells = list(sheet.iter_rows())
assert [cell.value for cell in cells[0]] == names


def armoured(text):
    return "'" + text if text and text[0] in "=+-@\t\r\n" else text


for lines in (plain, french, cells):
    assert len(lines) == count + 1, len(lines)
for row, line, fr, cell in zip(rows, plain[1:], french[1:], cells[1:]):
    number, day = str(row["salaire_brut"]), row["date_embauche"].isoformat()
    texts = [row["nom"], row["prenom"]]
    address = armoured(row["adresse"] or "")
    assert line == [str(row["id"]), *map(armoured, texts), day, number, address], line
    assert fr == [str(row["id"]), *map(armoured, texts), day, number.replace(".", ","), address], fr
    assert [c.value for c in cell[:3]] == [row["id"], *texts], cell
    assert [c.data_type for c in cell[:5]] == ["n", "s", "s", "d", "n"], cell
    assert cell[3].value == datetime.datetime.combine(row["date_embauche"], datetime.time())
    assert cell[4].number_format == "#,##0.00"
    # As Excel would show it: the nearest number of two decimals is the exact amount.
    assert decimal.Decimal(repr(cell[4].value)).quantize(decimal.Decimal("0.01")) == row["salaire_brut"]
    assert cell[5].value == row["adresse"]
print("ok")
