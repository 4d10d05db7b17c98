import pytest

from services.backbone.pages.bundle import InvalidModule, bundle, bundle_style


def bundled(entry: str, **modules: str) -> str:
    """Bundle modules whose names are given as `a_b` for `a/b.js`."""
    files = {f"{name.replace('_', '/')}.js": text for name, text in modules.items()}
    return bundle(entry, files.__getitem__)


def test_module_follows_the_modules_that_it_imports() -> None:
    text = bundled("a.js", a='import { b } from "./b.js";\nb();\n', b="export function b() {}\n")
    assert text == "// b.js\nfunction b() {}\n\n// a.js\nb();\n"


def test_module_that_two_others_import_is_included_once() -> None:
    text = bundled(
        "a.js",
        a='import { b } from "./b.js";\nimport { c } from "./c.js";\n',
        b='import { c } from "./c.js";\nexport const b = c;\n',
        c="export const c = 1;\n",
    )
    assert text.count("const c = 1;") == 1
    assert text.index("const c = 1;") < text.index("const b = c;")


def test_import_path_is_relative_to_the_importing_module() -> None:
    assert "let x" in bundled(
        "live_a.js".replace("_", "/"), live_a='import { x } from "../push/x.js";\n', push_x="export let x;\n"
    )


def test_exports_of_the_entry_stay() -> None:
    assert bundled("a.js", a="export class A {}\n") == "// a.js\nexport class A {}\n"


def test_comments_on_lines_of_their_own_are_left_out() -> None:
    text = bundled("a.js", a='// one\nf("//"); // two\n  // three\n/** four\n * five */\n  g("/**");\n')
    assert text == '// a.js\nf("//"); // two\n  g("/**");\n'


def test_import_over_several_lines_is_resolved() -> None:
    text = bundled("a.js", a='import {\n  b,\n  c,\n} from "./b.js";\n', b="export const b = 1;\nexport const c = 2;\n")
    assert "import" not in text


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({"a": 'import { b } from "./b.js";\n'}, "a.js imports b.js, which does not exist"),
        ({"a": 'import { b as c } from "./b.js";\n', "b": ""}, "renames an import"),
        ({"a": 'import "./b.js";\n', "b": 'import "./a.js";\n'}, "a.js imports itself: a.js > b.js > a.js"),
        ({"a": 'import "./b.js";\nconst x = 1;\n', "b": "function x() {}\n"}, "b.js and a.js both declare `x`"),
        ({"a": "export default 1;\n"}, "cannot be bundled"),
        ({"a": 'export * from "./b.js";\n'}, "cannot be bundled"),
        ({"a": "const { x } = y;\n"}, "cannot be bundled"),
        ({"a": 'import * as b from "./b.js";\n', "b": ""}, "cannot be bundled"),
        ({"a": 'const b = await import("./b.js");\n', "b": ""}, "cannot be bundled"),
    ],
)
def test_unsupported_syntax_is_refused_with_its_place(modules: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidModule, match=r"a\.js") as refused:
        bundled("a.js", **modules)
    assert reason in str(refused.value)


def test_style_sheet_contains_those_that_it_imports_without_comments() -> None:
    files = {"a.css": '/* a */\n@import "./live/b.css";\na {\n}\n', "live/b.css": "/* b\n*/\nb {\n}\n"}
    assert bundle_style("a.css", files.__getitem__) == "b {\n}\na {\n}\n"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.css": '@import "./b.css";\n'}, "a.css imports b.css, which does not exist"),
        ({"a.css": "@import url(b.css);\n"}, "`@import url(b.css);` cannot be bundled"),
        ({"a.css": '@import "./b.css";\n', "b.css": '@import "./c.css";\n'}, "cannot be bundled"),
    ],
)
def test_unsupported_import_of_a_style_sheet_is_refused(files: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidModule, match=r"a\.css") as refused:
        bundle_style("a.css", files.__getitem__)
    assert reason in str(refused.value)
