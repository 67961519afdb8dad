"""How values look on a page: money, times with their zone, spans of time, ids that lead to their page."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import quote, urlencode

from flask import Flask, current_app
from markupsafe import Markup, escape

from rules.event import seconds
from rules.words import span_text

TRACES = "https://console.cloud.google.com/traces/list"
MINUTE, HOUR, DAY = 60, 3600, 86400
WITHOUT_CENTS = " bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf "
WITH_MILLS = " bhd jod kwd omr tnd "
SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "krw": "₩"}
PAGES = (  # by the id's prefix; every other id goes through find
    ("evt_", "/events/"),
    ("run_", "/runs/"),
    ("cus_", "/customers/"),
)


def install(flask: Flask) -> None:
    flask.jinja_env.filters.update(
        money=money,
        moneys=moneys,
        number=number,
        when=when,
        ago=ago,
        lasts=lasts,
        span=span,
        ident=ident,
        pretty=pretty,
    )
    flask.jinja_env.filters.update(plainly=plainly, sentence=sentence, changed=changed, told=told)
    flask.jinja_env.globals.update(tone=tone, href=href, cloud_trace=cloud_trace)


def cloud_trace(trace: str) -> str:
    """The trace's page in Google's console, where spans are sent there; else empty."""
    settings = current_app.extensions["services"].settings
    if not settings.google_project or settings.firestore_emulator or settings.traces == "off":
        return ""
    return f"{TRACES}?{urlencode({'tid': trace, 'project': settings.google_project})}"


# ---- money and numbers ----------------------------------------------------------------------------------------------
def exponent(currency: str) -> int:
    """How many decimal places the currency's minor unit has at Stripe."""
    low = f" {currency.lower()} "
    return 0 if low in WITHOUT_CENTS else 3 if low in WITH_MILLS else 2


def money(minor: float | None, currency: str = "usd") -> str:
    """`$1,234.50`, `1,234.50 CHF`: minor units as people write them; `–` when unknown."""
    if minor is None:
        return "–"
    places = exponent(currency)
    text = f"{abs(minor) / 10**places:,.{places}f}"
    sign = "−" if minor < 0 else ""
    low = currency.lower()
    return f"{sign}{SIGNS[low]}{text}" if low in SIGNS else f"{sign}{text} {currency.upper()}"


def moneys(amounts: dict[str, int] | None) -> str:
    """Amounts by currency, `$14,220.00 + €310.00`."""
    return " + ".join(money(minor, currency) for currency, minor in sorted((amounts or {}).items())) or "–"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


# ---- times ----------------------------------------------------------------------------------------------------------
def moment(value: datetime | str | int | float | None) -> datetime | None:
    """A datetime from what documents hold: iso text, or Stripe's unix seconds."""
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return seconds(int(value))


def when(value: datetime | str | int | float | None, form: str = "minute") -> Markup:
    """`<time>23 Nov 2026, 10:03 UTC</time>`. form: minute, second, day, clock (10:03:12)."""
    at = moment(value)
    if at is None:
        return Markup("–")
    pattern = {"minute": "%H:%M", "second": "%H:%M:%S", "day": "", "clock": "%H:%M:%S"}[form]
    date = f"{at.day} {at:%b %Y}"
    text = f"{at:%H:%M:%S}" if form == "clock" else f"{date}, {at.strftime(pattern)} UTC" if pattern else date
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_machine(at), _full(at), text)


def ago(value: datetime | str | int | float | None, now: datetime) -> Markup:
    """`3 min ago`, `in 2 h`, with the full time as its title; further than a week away the date itself."""
    at = moment(value)
    if at is None:
        return Markup("–")
    apart = (now - at).total_seconds()
    if abs(apart) > 7 * DAY:
        return when(at, "day")
    text = "just now" if abs(apart) < 5 else f"{_about(apart)} ago" if apart > 0 else f"in {_about(-apart)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_machine(at), _full(at), text)


def _about(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d`: one unit is enough for how long ago."""
    sizes = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s"))
    size, name = next(((size, name) for size, name in sizes if seconds >= 2 * size), (1, "s"))
    return f"{int(seconds // size)} {name}"


def lasts(seconds: float | None) -> str:
    """`420 ms`, `12 s`, `3 min 5 s`, `46 h 10 min`, `7 d 2 h`: the two largest units."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "under 1 ms"
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    return _two(whole, HOUR, "h", MINUTE, "min") if whole < 2 * DAY else _two(whole, DAY, "d", HOUR, "h")


def span(seconds: float) -> str:
    """`7 days`, `48 hours`: a span that somebody chose, as sentences have it."""
    return span_text(int(seconds))


def _two(whole: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")


def _machine(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _full(at: datetime) -> str:
    return f"{at:%a} {at.day} {at:%b %Y, %H:%M:%S} UTC"


# ---- ids and payloads -----------------------------------------------------------------------------------------------
def href(id: str) -> str:
    """Where an id leads: its own page, or the find box's answer."""
    return next((page + quote(id) for prefix, page in PAGES if id.startswith(prefix)), "/find?q=" + quote(id))


def ident(id: Any, to: str | None = None) -> Markup:
    """An id in fixed-width type, linked; `to` overrides where. What came as an id and is no text leads nowhere."""
    if not id:
        return Markup("–")
    if not isinstance(id, str):
        return Markup('<span class="id">{}</span>').format(str(id)[:80])
    return Markup('<a class="id" href="{}">{}</a>').format(to or href(id), id)


def pretty(value: Any) -> Markup:
    """JSON for reading, one `<pre>`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str)
    return Markup('<pre class="code" tabindex="0"><code>{}</code></pre>').format(escape(text))


def plainly(text: str) -> str:
    """Stripe's words without the backticks and links of their Markdown."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


def sentence(text: str) -> str:
    """With a capital, unless the first word is a name such as `crm.notify`."""
    first = text.partition(" ")[0]
    return text if "." in first.rstrip(".") or "_" in first else text[:1].upper() + text[1:]


def told(text: str) -> Markup:
    """A sentence of the read-back: the ends of lines in a person's text are lines, and an amount whose currency the
    rule leaves open is said once."""
    lines = re.sub(r" \(-?[\d,]+ in minor units\)", "", text).split(" ¶ ")
    return Markup("<br>").join(lines)


def changed(text: str) -> Markup:
    """A line of a difference between two versions, the words that went struck out and those that came marked."""
    if text.startswith("Was: ") and " Now: " in text:
        before, _, after = text.removeprefix("Was: ").partition(" Now: ")
        return _word_by_word(before.split(" "), after.split(" "))
    for start, tag in (("New: ", "ins"), ("No longer: ", "del")):
        if text.startswith(start):
            return Markup(f"<{tag}>{{}}</{tag}>").format(text.removeprefix(start))  # noqa: S704  the tag is one of two constants; the text is escaped by format
    return escape(text)


def _word_by_word(before: list[str], after: list[str]) -> Markup:
    parts = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(escape(" ".join(before[i:j])))
            continue
        if j > i:
            parts.append(Markup("<del>{}</del>").format(" ".join(before[i:j])))
        if m > k:
            parts.append(Markup("<ins>{}</ins>").format(" ".join(after[k:m])))
    return Markup(" ").join(parts)


# ---- states ---------------------------------------------------------------------------------------------------------
TONES = {
    "good": "live on done ok succeeded delivered fired paid true verified published",
    "info": "acting running watch waiting pending queued due retry simulated branch",
    "warn": "paused parked needs_person person stopped watching cancelled skipped contradicted draft proposed",
    "bad": "failed dead failing error refused quarantined false",
}


def tone(state: str) -> str:
    """The colour family of a state word: good, info, warn, bad, or none."""
    return next((name for name, words in TONES.items() if state in words.split()), "none")
