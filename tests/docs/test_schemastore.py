"""The schema in SchemaStore's form: taken by Ajv as SchemaStore's checks run it, and true of the files beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.schemastore import NAME, files

AJV = Path(__file__).parent / "node_modules/ajv"
# Strict, but for what SchemaStore lets schemas have: keywords of editors, and unions of types.
PROGRAM = """
const [folder, name] = process.argv.slice(1);
const fs = require('fs');
const Ajv = require(process.env.AJV).default;
const {unknownKeywords} = JSON.parse(fs.readFileSync(folder + '/schema-validation-entry.json'))[name + '.json'];
const ajv = new Ajv({strict: true, strictTypes: false, strictRequired: false, strictTuples: false, allErrors: true});
for (const word of unknownKeywords) ajv.addKeyword(word);
const valid = ajv.compile(JSON.parse(fs.readFileSync(`${folder}/src/schemas/json/${name}.json`)));
console.log(JSON.stringify(JSON.parse(fs.readFileSync(0)).map(each => valid(each))));
"""


def test_ajv_takes_it_and_it_tells_good_files_from_bad_ones(tmp_path: Path) -> None:
    if not AJV.is_dir() or shutil.which("node") is None:
        pytest.skip("needs `npm install --prefix tests/docs`")
    texts = files()
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    samples = [path for path in texts if path.endswith(".yaml")]
    given = json.dumps([yaml.safe_load(texts[path]) for path in samples])
    command = ["node", "-e", PROGRAM, str(tmp_path), NAME]
    said = subprocess.run(command, input=given, capture_output=True, text=True, env={**os.environ, "AJV": str(AJV)})
    assert said.returncode == 0, said.stderr
    assert dict(zip(samples, json.loads(said.stdout), strict=True)) == {
        path: "negative" not in path for path in samples
    }


def test_the_entry_of_the_catalog_names_the_schema_by_its_id() -> None:
    texts = files()
    entry = json.loads(texts["catalog-entry.json"])
    schema = json.loads(texts[f"src/schemas/json/{NAME}.json"])
    assert entry["url"] == schema["$id"]
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert not re.search(r"\b[Ss]chema\b", entry["description"])  # SchemaStore refuses the word
    assert all("gateway" in pattern for pattern in entry["fileMatch"])
