"""Write the page anew: ``make messages``."""

from tests.messages.page import PAGE, page, provoked

PAGE.write_text(page(provoked()), encoding="utf-8")
