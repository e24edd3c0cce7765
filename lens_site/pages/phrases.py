"""Phrases that scripts say, marked for translation; English needs none of them sent along."""

from __future__ import annotations

import json

from django.utils.translation import gettext, gettext_noop

PHRASES = (
    gettext_noop("copied"),
    gettext_noop("connecting"),
    gettext_noop("connection: {text}"),
    gettext_noop("live {ms} ms"),
    gettext_noop("replaying {missed}"),
    gettext_noop("reconnecting in {left}"),
    gettext_noop("offline since {at}"),
    gettext_noop("signed out"),
)


def translated() -> str:
    """Return as JSON the phrases that read otherwise in the language of the request."""
    found = {phrase: gettext(phrase) for phrase in PHRASES}
    return json.dumps({phrase: text for phrase, text in found.items() if text != phrase})
