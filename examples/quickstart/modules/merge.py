"""Puts the figures of all texts together into one file, and sums them up."""

import json
import os

from module_io import artifact, parameters, report

# Words a minute of silent reading.
READING_SPEED = 230


def merged(folder, documents, keywords):
    """One entry for each text, longest first, and the totals. Texts that could not be analysed are counted as missing."""
    entries = []
    for document in filter(None, documents):
        analysis = document["analysis"]
        entries.append(
            {
                "path": shown(analysis["file"], folder),
                "title": analysis["title"],
                "words": analysis["words"],
                "sentences": analysis["sentences"],
                "headings": analysis["headings"],
                "bytes": analysis["bytes"],
                "cut": analysis["cut"],
                "readability": document["readability"],
                "keywords": [entry["term"] for entry in keywords.get(analysis["file"], [])],
            }
        )
    entries.sort(key=lambda entry: (-entry["words"], entry["path"]))
    words = sum(entry["words"] for entry in entries)
    totals = {
        "documents": len(entries),
        "missing": len(documents) - len(entries),
        "words": words,
        "sentences": sum(entry["sentences"] for entry in entries),
        "headings": sum(entry["headings"] for entry in entries),
        "minutes": round(words / READING_SPEED),
    }
    return {"folder": folder, "totals": totals, "documents": entries}


def shown(path, folder):
    """A path as people write it: relative to the folder, with slashes. On another drive it stays as it is."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return path


def main():
    given = parameters()
    keywords = (given.get("keywords") or {}).get("documents", {})
    corpus = merged(given["folder"], given["documents"], keywords)
    file = artifact("corpus.json")
    file.write_text(json.dumps(corpus, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    totals = corpus["totals"]
    print(f"{totals['documents']} texts, {totals['words']} words, about {totals['minutes']} minutes to read")
    report({"file": str(file), **totals})


if __name__ == "__main__":
    main()
