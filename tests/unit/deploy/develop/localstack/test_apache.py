import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.develop.localstack import apache

ROOT = Path(__file__).parents[5]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a Java 17 and a Maven that are scripts, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "java", "echo 'openjdk version \"17.0.1\"' >&2")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("PUSH_CACHE", str(tmp_path / "cache"))
    return folder


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def maven(tools: Path, body: str) -> None:
    """A Maven script. `$out` is the folder that it must fill."""
    find_out = 'for word; do case "$word" in -DoutputDirectory=*) out="${word#*=}";; esac; done; mkdir -p "$out"\n'
    script(tools / "mvn", find_out + body)


def test_jars_are_resolved_once(tools: Path) -> None:
    maven(tools, f'touch "$out/kafka_2.13-4.jar"; echo x >> {tools}/calls')
    lines: list[str] = []
    first = apache.ensure_jars(lines.append)
    assert apache.ensure_jars(lines.append) == first
    assert [path.name for path in first.iterdir()] == ["kafka_2.13-4.jar"]
    assert len(lines) == 1
    assert (tools / "calls").read_text() == "x\n"


def test_remains_of_an_interrupted_resolve_are_deleted(tools: Path) -> None:
    maven(tools, 'touch "$out/half.jar"; kill -9 $$')
    with pytest.raises(apache.Unavailable):
        apache.ensure_jars(print)
    maven(tools, 'touch "$out/kafka_2.13-4.jar"')
    assert [path.name for path in apache.ensure_jars(print).iterdir()] == ["kafka_2.13-4.jar"]


def test_killed_resolve_kills_maven_and_the_next_resolve_succeeds(tools: Path, tmp_path: Path) -> None:
    maven(tools, f'touch "$out/half.jar"; echo $$ > {tmp_path}/pid; exec sleep 60')
    program = "from deploy.develop.localstack import apache; apache.ensure_jars(print)"
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
    pause = threading.Event()
    while not (tmp_path / "pid").exists():
        pause.wait(0.02)
    run.kill()
    run.wait()
    maven(tools, 'touch "$out/kafka_2.13-4.jar"')
    assert [path.name for path in apache.ensure_jars(print).iterdir()] == ["kafka_2.13-4.jar"]


def test_concurrent_resolves_download_once(tools: Path) -> None:
    maven(tools, f'sleep 0.5; touch "$out/kafka_2.13-4.jar"; echo x >> {tools}/calls')
    program = "from deploy.develop.localstack import apache; apache.ensure_jars(print)"
    runs = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(30) for run in runs] == [0, 0, 0]
    assert (tools / "calls").read_text() == "x\n"


def test_error_contains_the_output_of_maven(tools: Path) -> None:
    maven(tools, "echo 'Could not transfer artifact'; exit 1")
    with pytest.raises(apache.Unavailable, match="Could not transfer artifact"):
        apache.ensure_jars(print)


def test_outdated_java_is_rejected(tools: Path) -> None:
    script(tools / "java", "echo 'openjdk version \"11.0.2\" 2019' >&2")
    with pytest.raises(apache.Unavailable, match=r"Java 17 or newer is needed, .*11\.0\.2"):
        apache.ensure_jars(print)


def test_filled_cache_is_sufficient_without_maven(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven(tools, 'touch "$out/kafka_2.13-4.jar"')
    filled = apache.ensure_jars(print)
    monkeypatch.setenv("PATH", str(tools))
    (tools / "mvn").unlink()
    script_java = (tools / "java").read_text().replace("#!/bin/sh", "#!/bin/sh\nPATH=/bin")
    (tools / "java").write_text(script_java)
    assert apache.ensure_jars(print) == filled
