#!/bin/sh
# Puts what a Hugging Face Space needs into a new folder: deploy/space.sh build/space
set -eu
[ $# -eq 1 ] || { echo "usage: deploy/space.sh FOLDER" >&2; exit 2; }
mkdir -p "$(dirname "$1")"
mkdir "$1"
space=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# -L: a Space has no links, so what explorer/.streamlit leads to is copied.
cp -RL .dockerignore .streamlit LICENSE components explorer pyproject.toml requirements.txt "$space"
find "$space" -name __pycache__ -prune -exec rm -r {} +
rm -f "$space"/.streamlit/secrets.toml "$space"/explorer/.streamlit/secrets.toml

# The block in deploy/README.md comes first. Of pictures a Space would want more than git.
{ sed -n '/^---$/,/^---$/p' deploy/README.md; echo; sed '/^!\[/d' README.md; } >"$space/README.md"

{
    cat deploy/Dockerfile
    echo
    echo "# A Space is shown in a frame of another site. There a browser sends the cookie that an upload needs only if"
    echo "# the cookie says so."
    echo "ENV STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE=none"
} >"$space/Dockerfile"
