#!/usr/bin/env python
"""Django's door for commands; ``./lens manage`` runs it with the stack's environment."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lens_site.settings")
    execute_from_command_line(sys.argv)
