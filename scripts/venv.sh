#!/bin/sh
# Makes the virtual environment with a Python that is new enough, or says what to install.
# Usage: venv.sh PREFERRED_PYTHON FOLDER
set -eu
preferred=$1
folder=$2

for python in "$preferred" python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Making $folder with $("$python" --version)"
        if "$python" -m venv "$folder"; then
            exit 0
        fi
        rm -rf "$folder"
        echo "error: $python cannot make a virtual environment in $folder" >&2
        echo "hint: on Debian and Ubuntu install its venv package (apt-get install python3-venv)" >&2
        exit 1
    fi
done
found=$("$preferred" --version 2>&1) || found="no $preferred on the PATH"
echo "error: Tiffin needs Python 3.11 or newer, and found: $found" >&2
echo "hint: install one and name it: make demo PYTHON=/path/to/python3.12" >&2
exit 1
