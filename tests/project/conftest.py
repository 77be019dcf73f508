import pytest

from tests.project.compose_file import compose


@pytest.fixture(scope="module")
def services() -> dict:
    return compose()["services"]
