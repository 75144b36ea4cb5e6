"""Write the page anew: ``make messages``."""

from tests.messages.page import PAGE, page, provoked
from tests.postgres import server

with server() as postgres:
    PAGE.write_text(page(provoked(postgres)), encoding="utf-8")
