"""What the user can mend: said in one clear line, caught once, in the command."""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


def one_line(error: BaseException) -> str:
    """An exception as one line: its kind and the first line of what it says.

    >>> one_line(ValueError("wrong shape\\nand more"))
    'ValueError: wrong shape'
    """
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
