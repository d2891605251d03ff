"""Amounts, durations and bars on the pages are exact, and templates escape every text."""

import re
from datetime import UTC, datetime
from importlib import resources
from typing import get_args

import pytest

from worker.ops import charts, html, words
from worker.ops.acting import to_minor
from worker.ops.words import amount, in_words
from worker.people.acting import Action
from worker.people.needs import NeedKind
from worker.people.wording import duration

LARGEST = (
    "ninety trillion seventy-one billion nine hundred ninety-two million five hundred forty-seven thousand "
    "four hundred nine and 91/100 EUR"
)
TEMPLATES = [file for file in (resources.files("worker.ops") / "templates").iterdir() if file.name.endswith(".html")]


@pytest.mark.parametrize(
    ("minor", "currency", "figures", "words"),
    [
        (0, "BRL", "0.00", "zero and 00/100 BRL"),
        (6_050, "BRL", "60.50", "sixty and 50/100 BRL"),
        (1, "BRL", "0.01", "zero and 01/100 BRL"),
        (1_234_567, "USD", "12,345.67", "twelve thousand three hundred forty-five and 67/100 USD"),
        (1_000_000, "JPY", "1,000,000", "one million JPY"),
        (5_019, "KWD", "5.019", "five and 019/1000 KWD"),
        (2**53 - 1, "EUR", "90,071,992,547,409.91", LARGEST),
    ],
)  # fmt: skip
def test_an_amount_is_shown_in_figures_and_in_words(minor: int, currency: str, figures: str, words: str) -> None:
    assert amount(minor, currency) == figures
    assert in_words(minor, currency) == words
    assert not minor or to_minor(figures.replace(",", ""), currency) == minor


def test_every_kind_of_need_has_its_words():
    assert words.NEEDS.keys() == set(get_args(NeedKind))


def test_every_action_has_its_words_and_its_button():
    assert words.ACTS.keys() == words.BUTTONS.keys() == set(get_args(Action))


def test_a_bar_fills_its_width_and_shows_even_the_smallest_part() -> None:
    parts = charts.bar([("settled", "settled", 10**9), ("voided", "voided", 1), ("open", "open", 0)])
    assert [part.name for part in parts] == ["settled", "voided"]
    assert sum(part.width for part in parts) == charts.WIDTH
    assert parts[1].width > 0
    assert charts.bar([]) == []


def test_a_duration_is_shown_in_one_unit() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 121, 7_300, 200_000)] == ["0 s", "59 s", "2 min", "2 h", "2 d"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda file: file.name)
def test_no_template_switches_escaping_off_or_leaves_an_attribute_unquoted(template) -> None:
    text = template.read_text("utf-8")
    assert not re.search(r"\|\s*safe|autoescape|Markup|<style|<script(?! src=\"/static/)|\bstyle=|\bon[a-z]+=\"", text)
    assert not re.search(r"\s[\w-]+=\{\{", text), "an unquoted attribute"


def test_html_in_text_is_escaped() -> None:
    hostile = "\"><script>alert('x')</script>"
    page = html.render(
        "message.html", title=hostile, text=hostile, subject=hostile, now=_NOW, path="/", session=None, form_key="",
        logs_out=False, attention=0, open_letters=0, incomplete=None, outages=(), noted=None, deployment=hostile,
    )  # fmt: skip
    assert "<script>alert" not in page
    assert page.count("&#34;&gt;&lt;script&gt;") == 5


_NOW = datetime(2026, 1, 15, tzinfo=UTC)
