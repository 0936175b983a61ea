"""Keywords of each text: the words that are frequent in it and rare in the others (TF-IDF)."""

import json
import math
from collections import Counter
from pathlib import Path

from module_io import parameters, progress, report

# The commonest words of English (and of German, which one sample text is in). TF-IDF alone keeps them where there are few texts.
STOPWORDS = set(
    """a about after again all also an and any are as at be because been before being between both but by can could did do does doing
    each even every few for from further get had has have having he her here his how however i if in into is it its itself just less
    let like made make many may might more most much must my need no nor not now of off on once one only or other our out over own per
    same see several she should since so some such than that the their them then there these they this those through thus to too two
    under until up upon use used uses very was way we well were what when where whether which while who whose why will with within
    without would you your aber alle als am an auch auf aus bei bis das dass dem den der des die durch ein eine einem einen einer eines
    er es für hat ich ihr im in ist man mit nach nicht noch nur oder sich sie sind so über um und uns von vor war was wer wie wird wir
    zu zum zur""".split()
)


def terms_of(document):
    """Word counts of a document, from the artifact of its analysis, without words that say nothing."""
    details = json.loads(Path(document["analysis"]["details"]).read_text(encoding="utf-8"))
    return Counter({term: count for term, count in details["terms"].items() if len(term) > 2 and term not in STOPWORDS})


def keywords(counts, spread, corpus_size, most):
    """The `most` best terms with their weight, best first; equals in alphabetical order."""
    total = sum(counts.values())
    weights = {term: count / total * math.log((1 + corpus_size) / (1 + spread[term])) for term, count in counts.items()}
    best = sorted(weights, key=lambda term: (-weights[term], term))[:most]
    return [{"term": term, "weight": round(weights[term], 5), "count": counts[term]} for term in best if weights[term] > 0]


def main():
    given = parameters()
    documents = [document for document in given["documents"] if document]
    counted = []
    for number, document in enumerate(documents, start=1):
        counted.append((document["analysis"]["file"], terms_of(document)))
        progress(number, len(documents), "read")
    spread = Counter(term for _, counts in counted for term in counts)
    found = {file: keywords(counts, spread, len(counted), given["most"]) for file, counts in counted}
    for file, best in found.items():
        print(f"{Path(file).name}: {', '.join(entry['term'] for entry in best[:5])}")
    report({"documents": found})


if __name__ == "__main__":
    import sys

    sys.stdout.reconfigure(errors="replace")
    main()
