"""The programme's rules, computed anew from what Kafka holds: no engine of ours has a part in it.

oracle.py EVENTS.jsonl NOW OFFSETS.json [EMPLOYEES.xlsx SPORTS.xlsx]

EVENTS: one message a line, {topic, partition, offset, key, value}, key and value as text or null.
NOW: the moment of the epoch, RFC 3339. OFFSETS: {table: {partition: last offset to take}}.
With workbooks, employees and sports folded from the events must be those of the workbooks.
Prints the rows of gold.eligibilites as JSON, by employee_id.
"""

import datetime
import json
import sys
import zoneinfo
from decimal import ROUND_HALF_UP, Decimal

PARIS = zoneinfo.ZoneInfo("Europe/Paris")
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
RATE = Decimal("0.05")
LIMITS_M = {"Marche/running": 15000, "Vélo/Trottinette/Autres": 25000}
WINDOW = datetime.timedelta(days=365)
ENOUGH = 15
DAYS = 5
KEYS = {
    "employees": "id",
    "declared_sports": "employee_id",
    "commute_distances": "employee_id",
    "sport_activities": "id",
}


def envelope(value):
    """The change in a message, or None for what is no change event."""
    try:
        text = json.loads(value)
    except ValueError:
        return None
    if isinstance(text, dict) and "payload" in text and "op" not in text:
        text = text["payload"]
    if not isinstance(text, dict) or text.get("op") not in list("cudr"):
        return None
    if any(not isinstance(text.get(image), (dict, type(None))) for image in ("before", "after")):
        return None
    return text


def fold(messages, key):
    """The current row of each key; of two changes the one with the higher lsn, then the higher offset, wins."""
    latest = {}
    for message in messages:
        change = envelope(message["value"]) if message["value"] else None
        if change is None:
            continue
        row = change["before"] if change["op"] == "d" else change["after"]
        if not row or key not in row:
            row = json.loads(message["key"])
        lsn = (change.get("source") or {}).get("lsn")
        order = (lsn if lsn is not None else -(2**63), message["offset"])
        if row[key] not in latest or latest[row[key]][0] < order:
            latest[row[key]] = (order, None if change["op"] == "d" else change["after"])
    return {key: row for key, (_, row) in latest.items() if row is not None}


def read(path, offsets):
    """The messages of each table up to the given offsets; every one of them must be there."""
    tables = {table: [] for table in KEYS}
    counts = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            table = message["topic"].rsplit(".", 1)[1]
            last = offsets.get(table, {}).get(str(message["partition"]), -1)
            if table not in tables or message["offset"] > last:
                continue
            tables[table].append(message)
            place = (table, str(message["partition"]))
            counts[place] = counts.get(place, 0) + 1
    for table, partitions in offsets.items():
        for partition, last in partitions.items():
            found = counts.get((table, partition), 0)
            assert found == last + 1, f"{table}/{partition}: {found} messages up to offset {last}"
    return {table: fold(messages, KEYS[table]) for table, messages in tables.items()}


def instant(micros):
    """A naive Paris time as an instant: the first of two, and for a skipped one as before the change."""
    naive = EPOCH + datetime.timedelta(microseconds=micros)
    return naive.replace(tzinfo=PARIS, fold=0).astimezone(UTC)


def eligibilites(tables, now):
    activities = {}
    for activity in tables["sport_activities"].values():
        if activity["type_activite"] == "BACKFILL_COMPLETE":
            continue
        if now - WINDOW <= instant(activity["date_debut"]) <= now:
            owner = activity["employee_id"]
            activities[owner] = activities.get(owner, 0) + 1
    rows = []
    for id, employee in sorted(tables["employees"].items()):
        commute = tables["commute_distances"].get(id) or {}
        distance = commute.get("distance_m")
        limit = LIMITS_M.get(employee["moyen_deplacement"])
        known = limit is not None and distance is not None
        prime = known and distance <= limit
        salary = Decimal(employee["salaire_brut"])
        amount = (salary * RATE if prime else Decimal(0)).quantize(Decimal("0.01"), ROUND_HALF_UP)
        count = activities.get(id, 0)
        rows.append(
            {
                "employee_id": id,
                "bu": employee["bu"],
                "prime_sportive": prime,
                "montant_prime_euros": str(amount),
                "distance_km": None if distance is None else distance / 1000,
                "nb_activites": count,
                "jours_bien_etre": DAYS if count >= ENOUGH else 0,
                "declaration_correcte": True if limit is None else (prime if known else None),
                "distance_source": commute.get("source"),
            }
        )
    return rows


def day(cell):
    if isinstance(cell, str):
        cell = datetime.datetime.strptime(cell.strip(), "%d/%m/%Y")
    return None if cell is None else (cell.date() - EPOCH.date()).days


def text(cell):
    return None if cell is None else " ".join(str(cell).split()) or None


def sheet(path):
    import openpyxl

    first = openpyxl.load_workbook(path, data_only=True).worksheets[0]
    headers, *rows = first.iter_rows(values_only=True)
    headers = [text(header) for header in headers]
    return [dict(zip(headers, row)) for row in rows if any(text(cell) for cell in row)]


def same(found, expected, what):
    assert set(found) == set(expected), f"{what}: {set(found) ^ set(expected)}"
    for key, fields in expected.items():
        theirs = {name: found[key][name] for name in fields}
        differing = [name for name in fields if theirs[name] != fields[name]]
        assert not differing, f"{what} {key}: {[(n, theirs[n], fields[n]) for n in differing]}"


def check_workbooks(tables, employees, sports):
    expected = {}
    for row in sheet(employees):
        salary = str(row["Salaire brut"]).replace("\u202f", "").replace("\xa0", "").replace(" ", "")
        salary = Decimal(salary.strip("€").replace(",", "."))
        expected[int(row["ID salarié"])] = {
            "nom": text(row["Nom"]),
            "prenom": text(row["Prénom"]),
            "date_naissance": day(row["Date de naissance"]),
            "bu": text(row["BU"]),
            "date_embauche": day(row["Date d'embauche"]),
            "salaire_brut": str(salary.quantize(Decimal("0.01"), ROUND_HALF_UP)),
            "type_contrat": text(row["Type de contrat"]),
            "jours_cp": int(row["Nombre de jours de CP"]),
            "adresse": text(row["Adresse du domicile"]),
            "moyen_deplacement": text(row["Moyen de déplacement"]),
        }
    same(tables["employees"], expected, "employee")
    declared = {int(row["ID salarié"]): text(row["Pratique d'un sport"]) for row in sheet(sports)}
    declared = {id: "Running" if sport == "Runing" else sport for id, sport in declared.items()}
    found = {id: text(row["sport"]) for id, row in tables["declared_sports"].items()}
    found = {id: "Running" if sport == "Runing" else sport for id, sport in found.items() if sport}
    assert found == {id: sport for id, sport in declared.items() if sport}, "declared sports differ"


def main(events, now, offsets, *workbooks):
    with open(offsets, encoding="utf-8") as text:
        tables = read(events, json.load(text))
    if workbooks:
        check_workbooks(tables, *workbooks)
    now = datetime.datetime.fromisoformat(now.replace("Z", "+00:00"))
    json.dump(eligibilites(tables, now), sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
