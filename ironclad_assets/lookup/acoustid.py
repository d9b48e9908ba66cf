"""Asks AcoustID which recordings sound like a fingerprint. Runs in the lookup's child.

Making the fingerprint is `fingerprint`'s business.
"""

import hashlib
import json
import re
from typing import Any
from urllib.parse import urlencode

from ironclad_assets.audio.tag_formats.text import clean_text
from ironclad_assets.lookup.courier import Courier, NoAnswer, Question
from ironclad_assets.lookup.names import ACOUSTID, SOURCES

NAME = SOURCES[ACOUSTID]
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_RECORDINGS = 25

_MBID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Json = dict[str, Any]  # JSON objects


def find_recordings(courier: Courier, *, base_url: str, key: str, fingerprint: str, duration_s: float) -> list[Json]:
    """Return recordings in the form of `FoundRecording`, the best fitting first, without releases.

    Raises:
        NoAnswer: the service does not say.
    """
    form = {
        "format": "json",
        "client": key,
        "duration": str(round(duration_s)),
        "fingerprint": fingerprint,
        "meta": "recordings",
    }
    asked = hashlib.sha256(f"{base_url} {form['duration']} {fingerprint}".encode()).hexdigest()
    question = Question(
        source=ACOUSTID,
        name=NAME,
        url=f"{base_url}/v2/lookup",
        key=f"acoustid:{asked}",
        max_bytes=MAX_ANSWER_BYTES,
        check=_check,
        data=urlencode(form).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        absent=(404,),
    )
    body = courier.ask(question)
    if body is None:
        return []
    try:
        return _told(json.loads(body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        courier.forget(question.key)
        raise NoAnswer(f"{NAME} answered something that makes no sense ({type(error).__name__})") from error


def _check(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(answer, dict) or answer.get("status") != "ok":
        raise ValueError("no answer of the web service")
    return bool(answer.get("results"))


def _told(answer: Json) -> list[Json]:
    best: dict[str, Json] = {}
    for result in answer["results"]:
        score = min(1.0, max(0.0, float(result["score"])))
        for recording in result.get("recordings", []):
            told = _recording(recording, score=score)
            if told is not None and score > best.get(told["id"], {"fingerprint_score": -1.0})["fingerprint_score"]:
                best[told["id"]] = told
    ranked = sorted(best.values(), key=lambda told: (-told["fingerprint_score"], told["id"]))
    return ranked[:MAX_RECORDINGS]


def _recording(given: Json, *, score: float) -> Json | None:
    """Return a recording; None for one whose title nobody entered."""
    if not _MBID.fullmatch(given["id"]) or not given.get("title"):
        return None
    credits: list[Json] = given.get("artists", [])
    duration = given.get("duration")
    return {
        "id": given["id"],
        "title": _text(given["title"]),
        "artist": _text("".join(one["name"] + one.get("joinphrase", "") for one in credits)) or None,
        "artists": [{"name": _text(one["name"]), "id": one.get("id")} for one in credits],
        "duration_s": float(duration) if duration else None,
        "fingerprint_score": score,
    }


def _text(value: str) -> str:
    return clean_text(value)[0].replace("\n", " ")
