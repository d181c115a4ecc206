"""How the file of each form of a report begins, by its ending: no other file is replaced by one."""

from __future__ import annotations

import re

BEGINNINGS = {
    ".json": re.compile(rb'\{\s*"schema":\s*\d'),
    ".xml": re.compile(rb'<\?xml[^>]*>\s*<testsuites [^>]*name="paritree"'),
    ".html": re.compile(
        rb'<!DOCTYPE html>\s*<html[^>]*>\s*<head>\s*<meta [^>]*>\s*<meta name="generator" content="paritree"'
    ),
}
