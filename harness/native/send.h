/* Messages that are sent: body, frame, record; as in client/outbox.py and client/frames.py. Part of _hot.c. */

/* A text as JSON without its quotation marks; 0 if it has characters whose escapes are not known here. */
static int put_escaped(Sink *out, const uint8_t *p, Py_ssize_t size) {
    static const char plain[] = "\"\\\b\f\n\r\t", named[] = "\"\\bfnrt";
    for (Py_ssize_t n = 0; n < size; n++) {
        const char *found = p[n] == 0 ? NULL : p[n] < 0x20 || p[n] == '"' || p[n] == '\\' ? strchr(plain, p[n]) : NULL;
        if (found != NULL) {
            if (!put_char(out, '\\') || !put_char(out, named[found - plain])) return 0;
        } else if (p[n] < 0x20 || !put_char(out, (char)p[n])) {
            return 0;
        }
    }
    return 1;
}

static int put_field(Sink *out, const uint8_t *p, Py_ssize_t size, int quoted) {
    if (quoted == RAW) return put_bytes(out, p, size);
    if (quoted == INNER) return put_escaped(out, p, size);
    return put_char(out, '"') && put_escaped(out, p, size) && put_char(out, '"');
}

/* Write a body to `said`; return its size, 0 if it does not fit. */
static Py_ssize_t put_body(const Core *c, const Sent *sent, uint32_t *digest) {
    Py_ssize_t size;
    const char *payload = PyUnicode_AsUTF8AndSize(sent->payload, &size);
    Sink out = {said, said + FRAME_MAX};
    Py_ssize_t tag_size;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &tag_size);
    if (payload == NULL || tag == NULL || !put_bytes(&out, "ew1:", 4) || !put_bytes(&out, tag, tag_size) || !put_char(&out, ':')
        || !put_number(&out, c->client) || !put_char(&out, ':') || !put_number(&out, sent->conv) || !put_char(&out, ':')
        || !put_number(&out, sent->counter) || !put_char(&out, ':')) return 0;
    *digest = crc32_on(crc32_on(0, said + 4, out.at - said - 4), (const uint8_t *)payload, size);
    char hex[10];
    hex[0] = hex[9] = ':';
    for (int k = 0; k < 8; k++) hex[1 + k] = "0123456789abcdef"[*digest >> (28 - 4 * k) & 15];
    if (!put_number(&out, sent->proc) || !put_char(&out, '.') || !put_number(&out, sent->attempt)
        || !put_bytes(&out, hex, 10) || !put_bytes(&out, payload, size)) return 0;
    return out.at - said;
}

/* Write the payload of a frame to `frame`; return its size, 0 if it is not for here. `asks`: it is that of a question. */
static Py_ssize_t put_frame(const Core *c, PyObject *label, PyObject *id, Py_ssize_t body_size, int asks) {
    Sink out = {frame, frame + sizeof frame};
    const Envelope *e = c->envelope;
    const Piece *piece = asks ? e->piece + e->pieces : e->piece;
    for (const Piece *end = piece + (asks ? e->asks : e->pieces); piece < end; piece++) {
        const char *p = (const char *)said;
        Py_ssize_t size = body_size;
        char *literal;
        if (piece->literal != NULL) {
            if (PyBytes_AsStringAndSize(piece->literal, &literal, &size) < 0 || !put_bytes(&out, literal, size)) return 0;
            continue;
        }
        if (piece->field != BODY && (p = PyUnicode_AsUTF8AndSize(piece->field == LABEL ? label : id, &size)) == NULL)
            return 0;
        if (!put_field(&out, (const uint8_t *)p, size, piece->quoted)) return 0;
    }
    return out.at - frame;
}

static uint8_t keys[4096];
static size_t keys_used = sizeof keys;

/* Take a key. They are unpredictable (RFC 6455 §5.3), and one system call brings a thousand of them. */
static int take_key(uint8_t key[4]) {
    char *bytes;
    Py_ssize_t got;
    if (keys_used < sizeof keys) {
        memcpy(key, keys + keys_used, 4);
        keys_used += 4;
        return 1;
    }
    PyObject *fresh = PyObject_CallFunction(urandom, "i", (int)sizeof keys);
    int fine = fresh != NULL && PyBytes_AsStringAndSize(fresh, &bytes, &got) == 0 && got == sizeof keys;
    if (fine) {
        memcpy(keys, bytes, sizeof keys);
        memcpy(key, keys, 4);
        keys_used = 4;
    }
    Py_XDECREF(fresh);
    return fine;
}

enum { FRAME_ROOM = 65535 + 8 }; /* bytes that one masked frame takes at most */

/* Write a payload of up to 65,535 bytes as one masked text frame to `out`, which has FRAME_ROOM bytes; return its size. */
static Py_ssize_t put_masked(uint8_t *out, const uint8_t *payload, Py_ssize_t size, const uint8_t key[4]) {
    Py_ssize_t head = size < 126 ? 2 : 4;
    *out++ = 0x81;
    *out++ = (uint8_t)(0x80 | (size < 126 ? size : 126));
    if (head == 4) {
        *out++ = (uint8_t)(size >> 8);
        *out++ = (uint8_t)size;
    }
    memcpy(out, key, 4);
    out += 4;
    uint64_t wide, word;
    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    Py_ssize_t n = 0;
    for (; n + 8 <= size; n += 8) {
        memcpy(&word, payload + n, 8);
        word ^= wide;
        memcpy(out + n, &word, 8);
    }
    for (; n < size; n++) out[n] = payload[n] ^ key[n & 3];
    return head + 4 + size;
}

static PyObject *as_bytes(const uint8_t *from, Py_ssize_t size) { return PyBytes_FromStringAndSize((const char *)from, size); }

/* frame(text) -> one masked frame as bytes; None for a text that is too long or no Unicode. */
static PyObject *text_frame(PyObject *module, PyObject *text) {
    Py_ssize_t size;
    uint8_t key[4];
    const char *payload = PyUnicode_AsUTF8AndSize(text, &size);
    (void)module;
    if (payload == NULL || size > 65535) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return take_key(key) ? as_bytes(framed, put_masked(framed, (const uint8_t *)payload, size, key)) : NULL;
}

/* -- one message: -1 is an error, 0 "not mine" and nothing is changed, else the size of its frame ---------------------------- */

static int not_mine(void) {
    PyErr_Clear();
    return 0;
}

static uint8_t proc_of(const Core *c) { return (uint8_t)((c->conn + c->session->abandoned) & 255); }

/* Write the frame of a message to `out`, which has FRAME_ROOM bytes, record it, and let it wait for its answer. */
static Py_ssize_t invoke(Core *c, PyObject *id, const Sent *sent, int asks, uint8_t *out) {
    long long seen = NONE;
    uint32_t digest = 0;
    uint8_t key[4];
    int begun = has_begun(c), waiting;
    if (begun != 1) return begun;
    if (!c->session->connected_now || !pen_room(c->pen, 1) || !take_key(key)) return not_mine();
    PyObject *last = PyDict_GetItemWithError(c->seen, sent->label);
    if (PyErr_Occurred() || (last != NULL && !as_number(last, INT64_MAX, &seen))) return not_mine();
    Py_ssize_t body_size = put_body(c, sent, &digest), size = body_size ? put_frame(c, sent->label, id, body_size, asks) : 0;
    if (size == 0 || size > 65535) return not_mine();
    PyObject *waits = new_message(sent);
    waiting = waits != NULL && PyDict_SetItem(c->pending, id, waits) == 0;
    Py_XDECREF(waits);
    if (!waiting) return -1;
    /* The record comes before the bytes, so whoever receives them can rely on it. */
    pen_put(c->pen, sent->sent_ns, K_INVOKE, asks ? OWN : 0, (uint8_t)sent->attempt, (uint8_t)sent->proc, c->client, c->conn,
            sent->conv, c->client, sent->counter, NONE, seen, (uint32_t)body_size, digest);
    return put_masked(out, frame, size, key);
}

/* Send the next message to a room: write its frame to `out`. `from`: its planned start, or `now`. */
static Py_ssize_t invoke_next(Core *c, long long now, long long conv, PyObject *label, PyObject *payload, long long from,
                              int asks, uint8_t *out) {
    Counts *session = c->session;
    if (session->counter < 0 || session->counter >= UINT32_MAX || !PyUnicode_Check(payload)) return 0;
    Sent sent = {NULL, label, payload, (uint32_t)session->counter + 1, 1, (uint32_t)conv, proc_of(c), now, from};
    PyObject *id = own_id(c, sent.counter);
    if (id == NULL) return not_mine();
    /* Made first: a tuple may call a finalizer, and this one whatever uses the buffers. */
    PyObject *question = asks ? Py_BuildValue("(IL)", sent.counter, from) : NULL;
    Py_ssize_t size = asks && question == NULL ? -1 : invoke(c, id, &sent, asks, out);
    if (size > 0) {
        if (asks && PyDict_SetItem(c->open, id, question) < 0) size = -1;
        session->counter = sent.counter;
    }
    Py_XDECREF(question);
    Py_DECREF(id);
    return size;
}

/* The number of a room to which this core can send: 1 found, 0 not mine. */
static int sends_to(const Core *c, PyObject *label, int asks, long long *conv) {
    if (!(asks ? c->envelope->asks : c->envelope->pieces) || !PyUnicode_Check(label)
        || (asks && PyDict_Size(c->open) >= OPEN_MAX)) return 0;
    return as_number(PyDict_GetItemWithError(c->rooms, label), INT32_MAX, conv) || not_mine();
}

/* A planned start as a number: `now` for None and 0. -1 with an exception is an error. */
static long long start_of(PyObject *planned_ns, long long now) {
    long long from = planned_ns == Py_None ? 0 : PyLong_AsLongLong(planned_ns);
    return from ? from : now;
}

/* Send what `send` was called with; its frame is in `framed`. */
static Py_ssize_t send_one(Core *c, PyObject *const *args) {
    long long conv, now = PyLong_AsLongLong(args[0]), from = start_of(args[3], now);
    int asks = PyObject_IsTrue(args[4]);
    if (PyErr_Occurred()) return -1;
    if (!sends_to(c, args[1], asks, &conv)) return 0;
    return invoke_next(c, now, conv, args[1], args[2], from, asks, framed);
}

static PyObject *frame_or_none(Py_ssize_t size) {
    if (size == 0) Py_RETURN_NONE;
    return size < 0 ? NULL : as_bytes(framed, size);
}

/* send(now_ns, label, payload, planned_ns, asks) -> one frame as bytes, or None: then nothing has been changed. */
static PyObject *core_send(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    if (given != 5) return PyErr_Format(PyExc_TypeError, "send takes 5 arguments");
    return frame_or_none(send_one((Core *)self, args));
}

/* again(now_ns, message_id) -> the frame of a message that is sent again, or None: then nothing has been changed. */
static PyObject *core_again(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    Sent sent = {.object = NULL};
    if (given != 2) return PyErr_Format(PyExc_TypeError, "again takes 2 arguments");
    long long now = PyLong_AsLongLong(args[0]);
    if (PyErr_Occurred()) return NULL;
    PyObject *table = get_table(c->session, UNANSWERED, &PyDict_Type);
    PyObject *tuple = table == NULL ? NULL : PyDict_GetItemWithError(table, args[1]);
    if (tuple == NULL || !c->envelope->pieces || !read_sent(tuple, &sent)) {
        Py_XDECREF(table);
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    sent.attempt = sent.attempt < 255 ? sent.attempt + 1 : 255;
    sent.proc = proc_of(c);
    sent.sent_ns = sent.planned_ns = now;
    Py_ssize_t size = invoke(c, args[1], &sent, 0, framed);
    if (size > 0 && PyDict_DelItem(table, args[1]) < 0) size = -1;
    Py_DECREF(sent.object);
    Py_DECREF(table);
    return frame_or_none(size);
}

#ifdef __linux__
/* Write to a socket that does not block. Returns how many bytes the kernel took; all if the socket is broken, which its
   reader will see. */
static Py_ssize_t write_to(long socket, const uint8_t *bytes, Py_ssize_t size) {
    ssize_t n = send((int)socket, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : size;
    return n;
}

static long long clock_ns(void) {
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    return clock.tv_sec * 1000000000LL + clock.tv_nsec;
}

/* post(fd, now_ns, label, payload, planned_ns, asks) -> as send, and write the frame to a socket that does not block. Returns
   the size of the frame if it was written (or the socket is broken), else the frame, of which `written` bytes were. */
static PyObject *core_post(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    if (given != 6) return PyErr_Format(PyExc_TypeError, "post takes 6 arguments");
    long socket = PyLong_AsLong(args[0]);
    if (socket == -1 && PyErr_Occurred()) return NULL;
    Py_ssize_t size = send_one(c, args + 1);
    if (size <= 0) return frame_or_none(size);
    c->written = write_to(socket, framed, size);
    return c->written < size ? as_bytes(framed, size) : PyLong_FromSsize_t(size);
}

/* The messages of one call of `post_many`, and its arguments. */
typedef struct { PyObject *label, *payloads, *starts; long socket; Py_ssize_t at, most; int joined; long long conv; } Many;

/* Write message `m->at` behind `size` bytes of `out`; return as `invoke` does. An error after other messages of this call is
   left to the next one, which meets it again: what was recorded before has to be written, and counted by the caller. */
static Py_ssize_t post_next(Core *c, const Many *m, long long now, uint8_t *out, Py_ssize_t size) {
    long long from = m->starts == NULL ? now : start_of(PyList_GetItem(m->starts, m->at), now);
    Py_ssize_t more = -1;
    if (!PyErr_Occurred()) more = invoke_next(c, now, m->conv, m->label, PyList_GetItem(m->payloads, m->at), from, 0, out + size);
    return more < 0 && c->sent > 0 ? not_mine() : more;
}

/* Send messages until one is not mine, or the kernel does not take all; return the bytes that were not written. */
static PyObject *post_all(Core *c, Many *m, uint8_t *out) {
    Py_ssize_t size = 0, more = 1, written = 0;
    long long now = 0;
    for (; more > 0 && m->at < m->most; m->at += more > 0) {
        if (size == 0) now = clock_ns();
        if ((more = post_next(c, m, now, out, size)) < 0) return NULL;
        if (more > 0) {
            size += more;
            c->sent++;
            c->made += more;
            if (m->joined && size + FRAME_ROOM <= FRAMED_MAX) continue;
        }
        if (size && (written = write_to(m->socket, out, size)) < size) return as_bytes(out + written, size - written);
        size = 0;
    }
    written = size ? write_to(m->socket, out, size) : 0;
    return as_bytes(out + written, size - written);
}

/* post_many(fd, label, payloads, starts, at, joined) -> send the messages from number `at` on to one room, and write their
   frames; `starts` holds their planned starts, or is None. Each frame is written by itself, unless `joined`: then one write
   takes all that fit into a buffer. The clock is read before each write, and its messages are recorded as sent then. Returns
   what was not written yet; `sent` says how many messages were sent, `made` how many bytes they have. */
static PyObject *core_post_many(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    static uint8_t many[FRAMED_MAX];
    static int used;
    Core *c = (Core *)self;
    if (given != 6) return PyErr_Format(PyExc_TypeError, "post_many takes 6 arguments");
    Many m = {.label = args[1], .payloads = args[2], .starts = args[3] == Py_None ? NULL : args[3],
              .socket = PyLong_AsLong(args[0]), .at = PyLong_AsSsize_t(args[4]), .most = PyList_Size(args[2]),
              .joined = PyObject_IsTrue(args[5])};
    c->sent = c->made = 0;
    if (PyErr_Occurred()) return NULL;
    if (m.at < 0 || (m.starts != NULL && PyList_Size(m.starts) != m.most))
        return PyErr_Format(PyExc_ValueError, "each message has a planned start");
    if (used || !sends_to(c, m.label, 0, &m.conv)) return as_bytes(many, 0);
    used = 1;
    PyObject *rest = post_all(c, &m, many);
    used = 0;
    return rest;
}
#endif
