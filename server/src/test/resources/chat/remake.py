# Remakes golden.json with the Jinja of Hugging Face's tokenizers: python3 remake.py, needs jinja2 3.1.
import json
import pathlib

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
CHATS = {
    "one": [{"role": "user", "content": "Hello"}],
    "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi  "}],
    "turns": [
        {"role": "system", "content": " Be\nbrief. "},
        {"role": "user", "content": "One {{ 1 + 1 }} {% if true %}"},
        {"role": "assistant", "content": "Two\n\n"},
        {"role": "user", "content": "Thr\u00e9e <b>\"'&\\n"},
    ],
    "thought": [
        {"role": "user", "content": "Think"},
        {"role": "assistant", "content": "<think>hm</think>\n\nDone"},
        {"role": "user", "content": "Again"},
    ],
    "unordered": [{"role": "assistant", "content": "First"}, {"role": "user", "content": "Second"}],
}


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def main():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    golden = []
    for path in sorted(HERE.glob("*.jinja")):
        template = environment.from_string(path.read_text())
        for name, messages in CHATS.items():
            for opens in (True, False):
                entry = {"template": path.name, "chat": name, "messages": messages, "opens": opens}
                try:
                    entry["text"] = template.render(
                        messages=messages,
                        add_generation_prompt=opens,
                        bos_token="<s>",
                        eos_token="</s>",
                        tools=None,
                    )
                except jinja2.exceptions.TemplateError as error:
                    entry["error"] = str(error)
                golden.append(entry)
    (HERE / "golden.json").write_text(json.dumps(golden, indent=0, ensure_ascii=True) + "\n")


main()
