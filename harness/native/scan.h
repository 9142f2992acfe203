/* From the bytes of a frame to the fields of its envelope and of its body. Part of _hot.c. */

/* -- envelopes ------------------------------------------------------------------------------------------------------ */

typedef struct { char text[NAME]; Py_ssize_t size; } Name;
typedef struct { Name value; int what, slot[SLOTS]; } Meaning; /* a slot holds the number of a path, -1: there is none */
typedef struct { PyObject *literal; int field, quoted; } Piece;

typedef struct {
    PyObject_HEAD
    int paths, meanings, pieces, asks, kind; /* of the pieces the first `pieces` send a message, the next `asks` a question */
    int parts[PATHS];
    uint32_t first[FIRSTS]; /* which paths begin with a name of this hash */
    Name part[PATHS][PARTS];
    Meaning meaning[KINDS];
    Piece piece[2 * PIECES];
    PyObject *labels;
    Name before; /* what comes before a question's number in the id of an answer */
} Envelope;

static unsigned hash_of(const void *name, Py_ssize_t size) {
    const uint8_t *p = name;
    return size ? (unsigned)(size + 7 * p[0] + 3 * p[size - 1]) % FIRSTS : 0;
}

static int name_set(Name *name, PyObject *text) {
    const char *p = PyUnicode_AsUTF8AndSize(text, &name->size);
    if (p == NULL) return -1;
    if (name->size >= NAME) {
        PyErr_Format(PyExc_ValueError, "%R is longer than %d bytes", text, NAME - 1);
        return -1;
    }
    memcpy(name->text, p, (size_t)name->size);
    return 0;
}

static int read_paths(Envelope *e, PyObject *paths) {
    Py_ssize_t count = PyTuple_Size(paths);
    if (count < 0 || count > PATHS) goto many;
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *parts = PyTuple_GetItem(paths, n);
        Py_ssize_t depth = parts == NULL ? -1 : PyTuple_Size(parts);
        if (depth < 1 || depth > PARTS) goto many;
        for (Py_ssize_t k = 0; k < depth; k++)
            if (name_set(&e->part[n][k], PyTuple_GetItem(parts, k)) < 0) return -1;
        e->parts[n] = (int)depth;
        e->first[hash_of(e->part[n][0].text, e->part[n][0].size)] |= 1u << n;
    }
    e->paths = (int)count;
    return 0;
many:
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "too many paths, or too long ones");
    return -1;
}

static int read_meanings(Envelope *e, PyObject *meanings) {
    Py_ssize_t count = PyTuple_Size(meanings);
    if (count < 0 || count > KINDS) goto many;
    for (Py_ssize_t n = 0; n < count; n++) {
        Meaning *m = &e->meaning[n];
        PyObject *value;
        int *slot = m->slot;
        if (!PyArg_ParseTuple(PyTuple_GetItem(meanings, n), "Uiiiiiii", &value, &m->what, slot, slot + 1, slot + 2, slot + 3,
                              slot + 4, slot + 5)) return -1;
        for (int k = 0; k < SLOTS; k++)
            if (slot[k] >= e->paths) goto many;
        if (name_set(&m->value, value) < 0) return -1;
    }
    e->meanings = (int)count;
    return 0;
many:
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "too many kinds, or a path that is not there");
    return -1;
}

/* Read pieces behind those that are there; return how many, -1 for an error. */
static int read_pieces(Envelope *e, PyObject *pieces) {
    Py_ssize_t count = PyTuple_Size(pieces);
    if (count < 0 || count > PIECES) goto many;
    Piece *at = e->piece + e->pieces;
    for (Py_ssize_t n = 0; n < count; n++) {
        PyObject *piece = PyTuple_GetItem(pieces, n);
        if (PyBytes_Check(piece)) {
            at[n].literal = Py_NewRef(piece);
        } else {
            if (!PyArg_ParseTuple(piece, "ii", &at[n].field, &at[n].quoted)) return -1;
        }
    }
    return (int)count;
many:
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "too many pieces");
    return -1;
}

static int envelope_init(PyObject *self, PyObject *args, PyObject *named) {
    Envelope *e = (Envelope *)self;
    PyObject *paths, *meanings, *pieces, *asks, *labels, *before;
    (void)named;
    if (e->labels != NULL) return PyErr_SetString(PyExc_TypeError, "an envelope is made once"), -1;
    if (!PyArg_ParseTuple(args, "O!iO!O!O!O!U", &PyTuple_Type, &paths, &e->kind, &PyTuple_Type, &meanings, &PyTuple_Type,
                          &pieces, &PyTuple_Type, &asks, &PyDict_Type, &labels, &before)) return -1;
    e->labels = Py_NewRef(labels);
    if (read_paths(e, paths) < 0 || read_meanings(e, meanings) < 0 || name_set(&e->before, before) < 0
        || (e->pieces = read_pieces(e, pieces)) < 0 || (e->asks = read_pieces(e, asks)) < 0) return -1;
    if (e->kind >= e->paths) return PyErr_SetString(PyExc_ValueError, "the kind has no path"), -1;
    return 0;
}

static int envelope_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Envelope *)self)->labels);
    return 0;
}

static int envelope_clear(PyObject *self) {
    Envelope *e = (Envelope *)self;
    Py_CLEAR(e->labels);
    for (int n = 0; n < 2 * PIECES; n++) Py_CLEAR(e->piece[n].literal);
    return 0;
}

static void envelope_dealloc(PyObject *self) { release(self, envelope_clear); }

static PyType_Slot envelope_slots[] = {
    {Py_tp_init, envelope_init}, {Py_tp_dealloc, envelope_dealloc}, {Py_tp_traverse, envelope_traverse},
    {Py_tp_clear, envelope_clear}, {0, NULL}};
static PyType_Spec envelope_spec = {
    "earwitness.harness.native._hot.Envelope", sizeof(Envelope), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    envelope_slots};

/* -- scanning a frame: strict JSON, and less than all of it; 0 means "not mine" ------------------------------------------ */

typedef struct { int is, escaped; const uint8_t *p; Py_ssize_t size; int64_t number; } Value;
typedef struct {
    const Envelope *e;
    const uint8_t *at, *end;
    Value values[PATHS];    /* those of `found` */
    uint32_t found;         /* paths that have a value, as bits */
    uint8_t entered[PATHS]; /* how deep each path was followed: a key that comes again would count in Python */
    uint8_t high;           /* all bytes of texts, or-ed */
} Scan;

/* The value in a slot of a meaning, ABSENT if there is none. */
static const Value *value_in(const Scan *s, const Meaning *m, int slot) {
    static const Value none = {ABSENT, 0, NULL, 0, 0};
    int path = m->slot[slot];
    return path >= 0 && s->found >> path & 1 ? &s->values[path] : &none;
}

static void skip_blanks(Scan *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) s->at++;
}

/* The four hex digits at p as a number, -1 if they are not that. */
static int hex4(const uint8_t *p, const uint8_t *end) {
    int value = 0;
    if (end - p < 4) return -1;
    for (int k = 0; k < 4; k++) {
        int c = p[k], digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The character of the escape that begins at p (a backslash), and its size in *size; -1 for one that is not known. */
static int32_t escape_at(const uint8_t *p, const uint8_t *end, int *size) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2) return -1;
    if (p[1] != 'u') {
        const char *found = p[1] ? strchr(from, p[1]) : NULL;
        *size = 2;
        return found ? to[found - from] : -1;
    }
    int32_t c = hex4(p + 2, end);
    *size = 6;
    if (c < 0 || (c >= 0xDC00 && c <= 0xDFFF)) return -1;
    if (c < 0xD800 || c > 0xDBFF) return c;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u') return -1;
    int32_t low = hex4(p + 8, end);
    *size = 12;
    return low < 0xDC00 || low > 0xDFFF ? -1 : 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
}

/* Where a text goes on behind characters that mean only themselves, eight bytes at a time: at a quotation mark, a backslash
   or a control character, or fewer than eight bytes before the end. */
static const uint8_t *skip_plain(Scan *s, const uint8_t *p) {
    static const uint64_t ones = UINT64_MAX / 255, tops = UINT64_MAX / 255 << 7;
    uint64_t word, all = 0;
    for (; s->end - p >= 8; p += 8) {
        memcpy(&word, p, 8);
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        /* A byte less than n borrows from its top bit. One behind it may be marked too, but the first mark is right. */
        uint64_t marks = ((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        if (marks & tops) {
            int bits = __builtin_ctzll(marks & tops) & ~7;
            all |= word & ((1ULL << bits) - 1);
            p += bits / 8;
            break;
        }
        all |= word;
    }
    if (all & tops) s->high |= 0x80;
    return p;
}

/* Take the string that begins at the present quotation mark. */
static int scan_text(Scan *s, Value *v) {
    const uint8_t *p = s->at + 1;
    v->is = TEXT;
    v->escaped = 0;
    v->p = p;
    for (p = skip_plain(s, p); p < s->end && *p != '"';) {
        if (*p < 0x20) return 0;
        s->high |= *p;
        if (*p == '\\') {
            int size;
            if (escape_at(p, s->end, &size) < 0) return 0;
            v->escaped = 1;
            p = skip_plain(s, p + size);
        } else {
            p++;
        }
    }
    if (p >= s->end) return 0;
    v->size = p - v->p;
    s->at = p + 1;
    return 1;
}

/* Take a number: only whole ones have a value, and those of more than 18 digits, or with exponents, are not known. */
static int scan_number(Scan *s, Value *v) {
    const uint8_t *p = s->at, *first;
    int negative = p < s->end && *p == '-';
    int64_t number = 0;
    p += negative;
    for (first = p; p < s->end && *p >= '0' && *p <= '9'; p++) {
        if (p - first >= 18) return 0;
        number = number * 10 + (*p - '0');
    }
    if (p == first || (*first == '0' && p - first > 1)) return 0;
    v->is = NUMBER;
    v->number = negative ? -number : number;
    if (negative && number == 0) v->is = OTHER;
    v->p = s->at;
    if (p < s->end && *p == '.') {
        v->is = FRACTION;
        for (first = ++p; p < s->end && *p >= '0' && *p <= '9'; p++)
            if (p - first >= 32) return 0;
        if (p == first) return 0;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) return 0;
    v->size = p - s->at;
    s->at = p;
    return 1;
}

static int scan_word(Scan *s, const char *word, Py_ssize_t size) {
    if (s->end - s->at < size || memcmp(s->at, word, (size_t)size)) return 0;
    s->at += size;
    return 1;
}

static int scan_value(Scan *s, unsigned below, int depth, Value *value);

/* Which of the paths in `mask` go on with this key: those that end in `*here`, others in `*below`. */
static int follow(Scan *s, const Value *key, unsigned mask, int depth, unsigned *below, unsigned *here) {
    if (depth == 0) mask &= s->e->first[hash_of(key->p, key->size)];
    *below = *here = 0;
    for (; mask; mask &= mask - 1) {
        int n = __builtin_ctz(mask);
        const Name *part = &s->e->part[n][depth];
        if (part->size != key->size || memcmp(part->text, key->p, (size_t)key->size)) continue;
        if (s->entered[n] > depth) return 0;
        s->entered[n] = (uint8_t)(depth + 1);
        if (s->e->parts[n] == depth + 1) *here |= 1u << n;
        else *below |= 1u << n;
    }
    return 1;
}

static int scan_object(Scan *s, unsigned mask, int depth) {
    s->at++;
    skip_blanks(s);
    if (s->at < s->end && *s->at == '}') return s->at++, 1;
    for (;;) {
        Value key, value;
        unsigned below = 0, here = 0;
        skip_blanks(s);
        if (s->at >= s->end || *s->at != '"' || !scan_text(s, &key) || key.escaped) return 0;
        if (mask && !follow(s, &key, mask, depth, &below, &here)) return 0;
        skip_blanks(s);
        if (s->at >= s->end || *s->at++ != ':' || !scan_value(s, below, depth + 1, &value)) return 0;
        for (s->found |= here; here; here &= here - 1) s->values[__builtin_ctz(here)] = value;
        skip_blanks(s);
        if (s->at >= s->end) return 0;
        if (*s->at == '}') return s->at++, 1;
        if (*s->at++ != ',') return 0;
    }
}

static int scan_list(Scan *s, int depth) {
    s->at++;
    skip_blanks(s);
    if (s->at < s->end && *s->at == ']') return s->at++, 1;
    Value one;
    for (;;) {
        if (!scan_value(s, 0, depth + 1, &one)) return 0;
        skip_blanks(s);
        if (s->at >= s->end) return 0;
        if (*s->at == ']') return s->at++, 1;
        if (*s->at++ != ',') return 0;
    }
}

/* Take one value. `below`: paths that go on inside it. */
static int scan_value(Scan *s, unsigned below, int depth, Value *value) {
    *value = (Value){OTHER, 0, NULL, 0, 0};
    skip_blanks(s);
    if (s->at >= s->end || depth > DEPTH) return 0;
    const uint8_t *first = s->at;
    switch (*first) {
    case '"': return scan_text(s, value);
    case '{':
        if (!scan_object(s, below, depth)) return 0;
        *value = (Value){OBJECT, 0, first, s->at - first, 0};
        return 1;
    case '[': return !below && scan_list(s, depth); /* a path may name a position in a list */
    case 't': value->is = YES; return scan_word(s, "true", 4);
    case 'f': value->is = NO; return scan_word(s, "false", 5);
    case 'n': value->is = NOTHING; return scan_word(s, "null", 4);
    default: return scan_number(s, value);
    }
}

/* A member of an object whose names are not known before. */
typedef struct { Value key, value; } Member;

/* The members of an object that has been scanned; -1 if they are more than MEMBERS, or a key is escaped or comes twice. */
static int members_of(const Envelope *e, const Value *object, Member *members) {
    Scan s = {.e = e, .at = object->p + 1, .end = object->p + object->size};
    for (int count = 0;; count++) {
        skip_blanks(&s);
        if (*s.at == '}') return count;
        if (count == MEMBERS) return -1;
        Value *key = &members[count].key;
        if (count) s.at++; /* the comma */
        skip_blanks(&s);
        if (!scan_text(&s, key) || key->escaped) return -1;
        for (int n = 0; n < count; n++)
            if (members[n].key.size == key->size && !memcmp(members[n].key.p, key->p, (size_t)key->size)) return -1;
        skip_blanks(&s);
        s.at++; /* the colon */
        if (!scan_value(&s, 0, 1, &members[count].value)) return -1;
    }
}

/* Scan a whole frame; return its meaning, or NULL if it has none that is known here. */
static const Meaning *scan_frame(Scan *s, const Envelope *e, const uint8_t *p, Py_ssize_t size) {
    memset(s->entered, 0, sizeof s->entered);
    s->found = s->high = 0;
    s->e = e;
    s->at = p;
    s->end = p + size;
    skip_blanks(s);
    if (s->at >= s->end || *s->at != '{' || !scan_object(s, (1u << e->paths) - 1, 0)) return NULL;
    skip_blanks(s);
    if (s->at != s->end || (s->high >= 0x80 && !is_utf8(p, s->end))) return NULL;
    const Value *kind = e->kind < 0 ? NULL : &s->values[e->kind];
    if (kind != NULL && (!(s->found >> e->kind & 1) || kind->is != TEXT || kind->escaped)) return NULL;
    for (int n = 0; n < e->meanings; n++) {
        const Name *value = &e->meaning[n].value;
        if (kind == NULL || (value->size == kind->size && !memcmp(value->text, kind->p, (size_t)kind->size)))
            return &e->meaning[n];
    }
    return NULL;
}

/* Write a text with its escapes resolved to `said`; return its size, -1 if it does not fit. */
static Py_ssize_t unescape(const Value *v) {
    const uint8_t *p = v->p, *end = v->p + v->size;
    Py_ssize_t n = 0;
    while (p < end) {
        if (n > FRAME_MAX - 4) return -1;
        if (*p != '\\') {
            said[n++] = *p++;
            continue;
        }
        int size = 0;
        int32_t c = escape_at(p, end, &size);
        if (c < 0) return -1;
        p += size;
        if (c < 0x80) {
            said[n++] = (uint8_t)c;
        } else if (c < 0x800) {
            said[n++] = (uint8_t)(0xC0 | c >> 6);
            said[n++] = (uint8_t)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            said[n++] = (uint8_t)(0xE0 | c >> 12);
            said[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
            said[n++] = (uint8_t)(0x80 | (c & 63));
        } else {
            said[n++] = (uint8_t)(0xF0 | c >> 18);
            said[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
            said[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
            said[n++] = (uint8_t)(0x80 | (c & 63));
        }
    }
    return n;
}

/* -- bodies, as in client/body.py ----------------------------------------------------------------------------------- */

typedef struct { uint64_t author, conv, counter, proc, attempt; uint32_t digest; } Body;

/* Take one to `digits` digits and the character behind them. */
static int take_number(const uint8_t **p, const uint8_t *end, char behind, int digits, uint64_t *number) {
    const uint8_t *first = *p;
    *number = 0;
    while (*p < end && **p >= '0' && **p <= '9') {
        if (*p - first >= digits) return 0;
        *number = *number * 10 + (uint64_t)(*(*p)++ - '0');
    }
    if (*p == first || *p >= end || **p != (uint8_t)behind) return 0;
    (*p)++;
    return 1;
}

/* Read a body of the run `tag` whose checksum is right; 0 for anything else. */
static int read_body(const uint8_t *p, Py_ssize_t size, const char *tag, Py_ssize_t tag_size, Body *b) {
    const uint8_t *end = p + size, *head = p + 4;
    if (size < tag_size + 5 || memcmp(p, "ew1:", 4) || memcmp(head, tag, (size_t)tag_size) || head[tag_size] != ':')
        return 0;
    p = head + tag_size + 1;
    if (!take_number(&p, end, ':', 10, &b->author) || !take_number(&p, end, ':', 10, &b->conv)
        || !take_number(&p, end, ':', 10, &b->counter)) return 0;
    uint32_t crc = crc32_on(0, head, p - head), claimed = 0;
    if (!take_number(&p, end, '.', 3, &b->proc) || !take_number(&p, end, ':', 3, &b->attempt)) return 0;
    if ((b->author | b->conv) >> 31 || !b->counter || b->counter >> 32 || b->proc > 255 || !b->attempt || b->attempt > 255)
        return 0;
    if (end - p < 9 || p[8] != ':') return 0;
    for (int k = 0; k < 8; k++) {
        int digit = p[k] >= '0' && p[k] <= '9' ? p[k] - '0' : p[k] >= 'a' && p[k] <= 'f' ? p[k] - 'a' + 10 : -1;
        if (digit < 0) return 0;
        claimed = claimed << 4 | (uint32_t)digit;
    }
    b->digest = crc32_on(crc, p + 9, end - p - 9);
    return b->digest == claimed;
}
