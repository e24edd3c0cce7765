"""Print the tables of the documents anew from the code."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lens_site import documents


class Command(BaseCommand):
    help = "Write the tables of settings, paths, events, models and errors into the documents."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="only say which are stale")

    def handle(self, **options: Any) -> None:
        stale = documents.stale_documents(root=settings.BASE_DIR)
        names = ", ".join(str(path.relative_to(settings.BASE_DIR)) for path in stale)
        if options["check"]:
            if stale:
                raise CommandError(f"{names}: stale; run ./lens manage render_docs")
            self.stdout.write("every table is what the code says")
            return
        for path in stale:
            path.write_text(documents.render(path.read_text("utf-8")), "utf-8")
        self.stdout.write(f"written: {names}" if stale else "nothing to write")
