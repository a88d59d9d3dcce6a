"""The status page: when and how every notebook was executed, as Markdown."""


def status_table(profile: str, executed: dict[str, dict]) -> str:
    """Return a Markdown table: when, how long, on what and from which commit every notebook ran.

    Args:
        profile: the book's profile.
        executed: notebook -> the stamp that execution left in its metadata.
    """
    lines = [f"Profile `{profile}`.", "", "| notebook | executed | seconds | device | commit |"]
    lines.append("|---|---|---:|---|---|")
    for name, stamp in executed.items():
        commit = f"`{stamp['commit'][:10]}`{' + changes' if stamp['dirty'] else ''}" if stamp["commit"] else "no checkout"
        lines.append(
            f"| [{name}](../notebooks/{name}.ipynb) | {stamp['started'][:16].replace('T', ' ')} UTC "
            f"| {stamp['seconds']} | {stamp['device']} | {commit} |"
        )
    return "\n".join(lines) + "\n"
