"""Every message that flowstmt can raise or log, provoked: the table behind ``messages.txt`` and ``test_error_messages.py``."""
