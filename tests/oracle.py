"""The programme's rules, computed anew from what Kafka holds: no engine of ours has a part in it.

oracle.py EVENTS.jsonl NOW OFFSETS.json [EMPLOYEES.xlsx SPORTS.xlsx]

EVENTS: one message a line, {topic, partition, offset, key, value}, key and value as text or null.
NOW: the moment of the epoch, RFC 3339. OFFSETS: {table: {partition: last offset to take}}.
With workbooks, employees and sports folded from the events must be those of the workbooks.
Prints the rows of each gold table as JSON, {table: [row]}.
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
UNKNOWN = "Distance domicile-bureau inconnue"
TOO_FAR = "Domicile trop éloigné pour ce mode de déplacement"
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


def millimetres(metres):
    return Decimal(metres or 0).quantize(Decimal("0.001"), ROUND_HALF_UP)


def all_activities(tables):
    for activity in tables["sport_activities"].values():
        if activity["type_activite"] != "BACKFILL_COMPLETE":
            yield activity


def recent_activities(tables, now):
    """The activities of the window, by employee."""
    found = {}
    for activity in all_activities(tables):
        if now - WINDOW <= instant(activity["date_debut"]) <= now:
            found.setdefault(activity["employee_id"], []).append(activity)
    return found


def total_km(activities):
    return float(sum(millimetres(activity["distance_m"]) for activity in activities)) / 1000


def eligibilites(tables, now):
    activities = recent_activities(tables, now)
    rows = []
    for id, employee in sorted(tables["employees"].items()):
        commute = tables["commute_distances"].get(id) or {}
        distance = commute.get("distance_m")
        limit = LIMITS_M.get(employee["moyen_deplacement"])
        known = limit is not None and distance is not None
        prime = known and distance <= limit
        salary = Decimal(employee["salaire_brut"])
        amount = (salary * RATE if prime else Decimal(0)).quantize(Decimal("0.01"), ROUND_HALF_UP)
        count = len(activities.get(id, []))
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


def euros(rows):
    return str(sum((Decimal(row["montant_prime_euros"]) for row in rows), Decimal("0.00")))


def cout_par_bu(eligible):
    rows = []
    for bu in {row["bu"] for row in eligible}:
        members = [row for row in eligible if row["bu"] == bu]
        rows.append(
            {
                "bu": bu,
                "nb_salaries": len(members),
                "nb_primes": sum(row["prime_sportive"] for row in members),
                "montant_primes_euros": euros(members),
                "jours_bien_etre": sum(row["jours_bien_etre"] for row in members),
            }
        )
    return rows


def activites_par_mois(tables):
    groups = {}
    for activity in all_activities(tables):
        local = instant(activity["date_debut"]).astimezone(PARIS)
        month = local.strftime("%Y-%m-01")
        groups.setdefault((month, activity["type_activite"]), []).append(activity)
    return [
        {
            "mois": month,
            "type_activite": kind,
            "nb_activites": len(activities),
            "distance_km": total_km(activities),
            "duree_h": sum(activity["duree_s"] or 0 for activity in activities) / 3600,
        }
        for (month, kind), activities in groups.items()
    ]


def classement(tables, now):
    scores = []
    for id, activities in recent_activities(tables, now).items():
        if id in tables["employees"]:
            scores.append((-len(activities), -total_km(activities), id))
    return [
        {
            "rang": rank,
            "employee_id": id,
            "bu": tables["employees"][id]["bu"],
            "nb_activites": -count,
            "distance_km": abs(distance),
        }
        for rank, (count, distance, id) in enumerate(sorted(scores), 1)
    ]


def anomalies_declaration(tables):
    rows = []
    for id, employee in tables["employees"].items():
        limit = LIMITS_M.get(employee["moyen_deplacement"])
        distance = (tables["commute_distances"].get(id) or {}).get("distance_m")
        if limit is None or (distance is not None and distance <= limit):
            continue
        rows.append(
            {
                "employee_id": id,
                "bu": employee["bu"],
                "moyen_deplacement": employee["moyen_deplacement"],
                "distance_km": None if distance is None else distance / 1000,
                "limite_km": limit / 1000,
                "motif": UNKNOWN if distance is None else TOO_FAR,
            }
        )
    return rows


def indicateurs(tables, now, eligible):
    activities = recent_activities(tables, now)
    theirs = [one for id in tables["employees"] for one in activities.get(id, [])]
    return [
        {
            "nb_salaries": len(eligible),
            "nb_primes": sum(row["prime_sportive"] for row in eligible),
            "montant_primes_euros": euros(eligible),
            "nb_bien_etre": sum(row["jours_bien_etre"] > 0 for row in eligible),
            "jours_bien_etre": sum(row["jours_bien_etre"] for row in eligible),
            "nb_activites": len(theirs),
            "distance_km": total_km(theirs),
        }
    ]


def gold(tables, now):
    eligible = eligibilites(tables, now)
    return {
        "eligibilites": eligible,
        "cout_par_bu": cout_par_bu(eligible),
        "activites_par_mois": activites_par_mois(tables),
        "classement": classement(tables, now),
        "anomalies_declaration": anomalies_declaration(tables),
        "indicateurs": indicateurs(tables, now, eligible),
    }


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
    json.dump(gold(tables, now), sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
