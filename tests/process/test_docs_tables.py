"""Tables on the interactive page, in a real browser against a real server: pasted or chosen as a file."""

from typing import Annotated, Any

import pytest

import tiffin
from tests.process.test_docs_files import body_type
from tests.process.test_docs_page import browser, one, send, status, text, until  # noqa: F401  browser is a fixture

pd: Any = pytest.importorskip("pandas", reason="pandas is not installed (make test installs it)")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

Wines = Annotated[pd.DataFrame, tiffin.Columns({"alcohol": "float64", "hue": "float64"})]


@tiffin.service
class Cellar:
    """Knows wines."""

    @tiffin.api
    def strongest(self, wines: Wines) -> float:
        """Say how strong the strongest wine is."""
        return float(wines["alcohol"].max())


@pytest.fixture
def page(browser):  # noqa: F811
    with tiffin.serve(Cellar) as server:
        browser.get_log("browser")
        browser.get(f"{server.url}/docs")
        one(browser, "#method-strongest")
        yield browser
        assert browser.get_log("browser") == []
        browser.get("about:blank")


def answer(browser):  # noqa: F811
    send(browser, "strongest")
    assert status(browser, "strongest") == "200 OK"
    return until(lambda: text(browser, "#method-strongest .answer pre[aria-label]"), "an answer")


def test_csv_is_pasted_or_chosen(page, tmp_path):
    body_type(page, "strongest", "text/csv")
    pasted = one(page, "#method-strongest .try > label > textarea")
    assert pasted.get_property("value").startswith("alcohol,hue")
    pasted.clear()
    pasted.send_keys("alcohol,hue\n12.5,1\n")
    assert answer(page) == "12.5"

    path = tmp_path / "wines.csv"
    path.write_text("alcohol,hue\n12.5,1\n14.5,2\n")
    one(page, "#method-strongest .try > label > input[type=file]").send_keys(str(path))
    assert not pasted.is_displayed(), "what is chosen is sent"
    assert "--data-binary '@wines.csv'" in text(page, "#method-strongest .curl pre")
    assert answer(page) == "14.5"

    page.find_element("css selector", "#method-strongest .actions button:last-of-type").click()
    assert pasted.is_displayed()
    assert pasted.get_property("value").startswith("alcohol,hue")
