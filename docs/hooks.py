"""What MkDocs cannot do by itself: pages that lie outside docs/, and links that leave it.

A link in docs/ is relative to its file, so that it works on GitHub too. On the site a link to a file that is a page
becomes a link to that page; a link to any other file of the repository goes to the repository.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

# Files of the repository outside docs/, and where they are on the site.
ADDED = {
    "www/README.md": "browser.md",
    "CONTRIBUTING.md": "contributing.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "core/models/emoji/README.md": "emoji/index.md",
    "core/models/emoji/SCORES.md": "emoji/scores.md",
    "core/models/emoji/SCORES-senses.md": "emoji/scores-senses.md",
    "core/models/emoji/SCORES-types.md": "emoji/scores-types.md",
    "core/models/emoji/scores.png": "emoji/scores.png",
    "core/models/emoji/senses.png": "emoji/senses.png",
}
SOURCES = {page: source for source, page in ADDED.items()}

# The target of a Markdown link or image: `](target)` or `](target "title")`.
LINK = re.compile(r"(\]\()([^)\s]+)((?:\s+\"[^\"]*\")?\))")
# Code keeps its text: blocks between fences and spans between backticks.
CODE = re.compile(r"(^```.*?^```\s*?$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files, config):
    for source, page in ADDED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")
    rewrite = lambda link: f"{link[1]}{site_target(link[2], here, source, config)}{link[3]}"
    pieces = CODE.split(markdown)
    return "".join(piece if index % 2 else LINK.sub(rewrite, piece) for index, piece in enumerate(pieces))


def site_target(target, here, source, config):
    """The target of a link in the page `here`, which is made of the repository's file `source`."""
    path, mark, anchor = target.partition("#")
    if not path or ":" in path:
        return target
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if file in ADDED or file.startswith("docs/") and (ROOT / file).is_file():
        page = ADDED.get(file, file.removeprefix("docs/"))
        return posixpath.relpath(page, posixpath.dirname(here) or ".") + mark + anchor
    kind = "tree" if (ROOT / file).is_dir() else "blob"
    return f"{config.repo_url.rstrip('/')}/{kind}/main/{file}{mark}{anchor}"
