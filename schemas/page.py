"""`make schemas`: the AsyncAPI document and the schemas it names as one page that needs nothing else.

python schemas/page.py build/schemas.html
"""

import json
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
LISTED_MAX = 40
BOUNDS = {
    "minimum": "from", "maximum": "to", "minLength": "at least", "maxLength": "at most", "minItems": "at least",
}  # fmt: skip
Json = dict[str, Any]


class Page:
    """Every word of it comes from the document, the schemas and the examples."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.document: Json = yaml.safe_load((folder / "asyncapi.yaml").read_text())

    def html(self) -> str:
        """The whole page."""
        info, style = self.document["info"], (self.folder / "page.css").read_text()
        return "\n".join([
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{info['title']}: messages</title><style>{style}</style><body><main>",
            f"<h1>{info['title']}: topics and messages</h1><p>{_prose(info['description'])}</p>",
            *self._topics(), *self._messages(), "</main></html>\n",
        ])  # fmt: skip

    def _topics(self) -> Iterator[str]:
        yield "<h2>Topics</h2><div class=wide><table><tr><th>topic<th>what<th>who<th>messages<th>kept</tr>"
        for key, one in self.document["channels"].items():
            settings = one["bindings"]["kafka"]["topicConfiguration"]
            kept = ", ".join(f"{name} {_plain(value)}" for name, value in settings.items())
            messages = ", ".join(_link(name) for name in one["messages"])
            yield (
                f"<tr><td><code>{escape(one['address'])}</code><td>{_prose(one['description'])}"
                f"<td>{'<br>'.join(self._operations(key))}<td>{messages}<td>{escape(kept)}</tr>"
            )
        yield "</table></div>"

    def _operations(self, channel: str) -> Iterator[str]:
        for one in self.document["operations"].values():
            if one["channel"]["$ref"].endswith(f"/{channel}"):
                group = f" Group `{one['bindings']['kafka']['groupId']['const']}`." if "bindings" in one else ""
                yield _prose(one["summary"] + group)

    def _messages(self) -> Iterator[str]:
        messages = self.document["components"]["messages"]
        yield f"<h2>Messages</h2><nav><ul>{''.join(f'<li>{_link(name)}</li>' for name in messages)}</ul></nav>"
        for name, one in messages.items():
            traits = [self._resolve(trait["$ref"]) for trait in one.get("traits", ())]
            yield f'<section><h3 id="{name}"><code>{name}</code></h3><p>{_prose(one["summary"])}'
            yield from (f" {_prose(part['description'])}" for part in (*traits, one) if "description" in part)
            yield "</p>"
            if "schema" in one["payload"]:
                yield from self._table("data", one["payload"])
            for part in (*traits, one):
                if "headers" in part:
                    yield "<details><summary>Headers</summary>"
                    yield from self._table("header", part["headers"])
                    yield "</details>"
            yield from self._examples(name)
            yield "</section>"

    def _table(self, what: str, part: Json) -> Iterator[str]:
        yield f"<div class=wide><table><tr><th>{what}<th>takes<th>means</tr>"
        yield from self._rows(self._resolve(part["schema"]["$ref"]), "")
        yield "</table></div>"

    def _rows(self, schema: Json, path: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            found = self._flat(field)
            star = "<b>*</b>" if name in schema.get("required", ()) else ""
            yield (
                f"<tr><td><code>{escape(path + name)}</code>{star}<td>{self._takes(found)}"
                f"<td>{_prose(found.get('description', ''))}</tr>"
            )
            for inner in [found, *map(self._flat, found.get("anyOf", ()))]:
                yield from self._rows(inner, f"{path}{name}.")
                if "items" in inner:
                    yield from self._rows(self._flat(inner["items"]), f"{path}{name}[].")

    def _takes(self, field: Json) -> str:
        """A type and its bounds in a few words."""
        if "anyOf" in field:
            return " or ".join(self._takes(self._flat(one)) for one in field["anyOf"])
        if "const" in field or "enum" in field:
            values = [field["const"]] if "const" in field else field["enum"]
            listed = ", ".join(f"<code>{escape(_plain(one))}</code>" for one in values)
            many = len(values) > LISTED_MAX
            return f"<details><summary>one of {len(values)}</summary>{listed}</details>" if many else listed
        types = field.get("type", "anything")
        said = [" or ".join(types) if isinstance(types, list) else types]
        said += [f"{word} {field[name]}" for name, word in BOUNDS.items() if name in field]
        if "pattern" in field:
            example = next((str(one) for one in field.get("examples", ())), "")
            said.append(f"such as {example}" if example else "in a fixed form")
        return escape(" ".join(said))

    def _examples(self, name: str) -> Iterator[str]:
        for path in sorted((self.folder / "examples" / "good" / name).glob("*.json")):
            title, text = escape(path.stem.replace("-", " ")), escape(path.read_text())
            yield f"<details><summary>{title}</summary><pre>{text}</pre></details>"

    def _flat(self, field: Json) -> Json:
        """The field with what its `$ref` says; its own words come first."""
        if "$ref" not in field:
            return field
        own = {name: one for name, one in field.items() if name != "$ref"}
        return self._flat(self._resolve(field["$ref"])) | own

    def _resolve(self, reference: str) -> Json:
        file, _, pointer = reference.partition("#")
        found = self.document
        if not pointer.startswith("/components"):  # a schema's own `#/$defs` are those that all share
            found = json.loads((self.folder / "messages" / Path(file or "common.json").name).read_text())
        for step in filter(None, pointer.split("/")):
            found = found[step]
        return found


def _prose(text: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def _link(name: str) -> str:
    return f'<a href="#{name}"><code>{name}</code></a>'


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "null" if value is None else str(value)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(Page().html())
    sys.stdout.write(f"{target}\n")
