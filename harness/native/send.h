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

/* A payload of up to 65,535 bytes as one masked text frame. */
static PyObject *masked(const uint8_t *payload, Py_ssize_t size, const uint8_t key[4]) {
    Py_ssize_t head = size < 126 ? 2 : 4;
    PyObject *made = PyBytes_FromStringAndSize(NULL, head + 4 + size);
    if (made == NULL) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(made);
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
    return made;
}

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
    return take_key(key) ? masked((const uint8_t *)payload, size, key) : NULL;
}

static PyObject *not_mine(void) {
    PyErr_Clear();
    Py_RETURN_NONE;
}

static uint8_t proc_of(const Core *c) { return (uint8_t)((c->conn + c->session->abandoned) & 255); }

/* Make the frame of a message, record it, and let it wait for its answer. None, and nothing is changed, if it is not for
   here. */
static PyObject *invoke(Core *c, PyObject *id, const Sent *sent, int asks) {
    long long seen = NONE;
    uint32_t digest = 0;
    uint8_t key[4];
    int begun = has_begun(c);
    if (begun != 1) return begun < 0 ? NULL : not_mine();
    if (!c->session->connected_now || !pen_room(c->pen, 1) || !take_key(key)) return not_mine();
    PyObject *last = PyDict_GetItemWithError(c->seen, sent->label);
    if (PyErr_Occurred() || (last != NULL && !as_number(last, INT64_MAX, &seen))) return not_mine();
    Py_ssize_t body_size = put_body(c, sent, &digest), size = body_size ? put_frame(c, sent->label, id, body_size, asks) : 0;
    if (size == 0 || size > 65535) return not_mine();
    PyObject *made = masked(frame, size, key), *waits = made == NULL ? NULL : new_message(sent);
    /* The record comes before the bytes, so whoever receives them can rely on it. */
    if (waits != NULL && PyDict_SetItem(c->pending, id, waits) == 0) {
        pen_put(c->pen, sent->sent_ns, K_INVOKE, asks ? OWN : 0, (uint8_t)sent->attempt, (uint8_t)sent->proc, c->client,
                c->conn, sent->conv, c->client, sent->counter, NONE, seen, (uint32_t)body_size, digest);
    } else {
        Py_CLEAR(made);
    }
    Py_XDECREF(waits);
    return made;
}

/* send(now_ns, label, payload, planned_ns, asks) -> one frame as bytes, or None: then nothing has been changed. */
static PyObject *core_send(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    Counts *session = c->session;
    long long conv;
    if (given != 5) return PyErr_Format(PyExc_TypeError, "send takes 5 arguments");
    PyObject *label = args[1], *payload = args[2], *planned_ns = args[3] == Py_None ? args[0] : args[3];
    long long now = PyLong_AsLongLong(args[0]), from = PyLong_AsLongLong(planned_ns);
    int asks = PyObject_IsTrue(args[4]);
    if (PyErr_Occurred()) return NULL;
    if (!from) planned_ns = args[0];
    if (!(asks ? c->envelope->asks : c->envelope->pieces) || session->counter < 0 || session->counter >= UINT32_MAX
        || !PyUnicode_Check(label) || !PyUnicode_Check(payload) || (asks && PyDict_Size(c->open) >= OPEN_MAX)) Py_RETURN_NONE;
    if (!as_number(PyDict_GetItemWithError(c->rooms, label), INT32_MAX, &conv)) return not_mine();
    Sent sent = {NULL, label, payload, (uint32_t)session->counter + 1, 1, (uint32_t)conv, proc_of(c), now, from ? from : now};
    PyObject *id = own_id(c, sent.counter);
    if (id == NULL) return not_mine();
    PyObject *made = invoke(c, id, &sent, asks);
    if (made != NULL && made != Py_None) {
        PyObject *question = asks ? Py_BuildValue("(IO)", sent.counter, planned_ns) : NULL;
        if (asks && (question == NULL || PyDict_SetItem(c->open, id, question) < 0)) Py_CLEAR(made);
        Py_XDECREF(question);
        session->counter = sent.counter;
    }
    Py_DECREF(id);
    return made;
}

/* again(now_ns, message_id) -> the frame of a message that is sent again, or None: then nothing has been changed. */
static PyObject *core_again(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    Sent sent = {.object = NULL};
    if (given != 2) return PyErr_Format(PyExc_TypeError, "again takes 2 arguments");
    long long now = PyLong_AsLongLong(args[0]);
    if (PyErr_Occurred()) return NULL;
    PyObject *table = get_table(c->session, UNANSWERED, &PyDict_Type), *made = NULL;
    PyObject *tuple = table == NULL ? NULL : PyDict_GetItemWithError(table, args[1]);
    if (tuple == NULL || !c->envelope->pieces || !read_sent(tuple, &sent)) {
        Py_XDECREF(table);
        return not_mine();
    }
    sent.attempt = sent.attempt < 255 ? sent.attempt + 1 : 255;
    sent.proc = proc_of(c);
    sent.sent_ns = sent.planned_ns = now;
    made = invoke(c, args[1], &sent, 0);
    if (made != NULL && made != Py_None && PyDict_DelItem(table, args[1]) < 0) Py_CLEAR(made);
    Py_DECREF(sent.object);
    Py_DECREF(table);
    return made;
}

#ifdef __linux__
/* post(fd, now_ns, label, payload, planned_ns, asks) -> as send, and write the frame to a socket that does not block. Returns the
   size of the frame if it was written (or the socket is broken, which its reader will see), else the frame, of which
   `written` bytes were. */
static PyObject *core_post(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    char *bytes;
    Py_ssize_t size;
    if (given != 6) return PyErr_Format(PyExc_TypeError, "post takes 6 arguments");
    long socket = PyLong_AsLong(args[0]);
    if (socket == -1 && PyErr_Occurred()) return NULL;
    PyObject *made = core_send(self, args + 1, 5);
    if (made == NULL || made == Py_None) return made;
    if (PyBytes_AsStringAndSize(made, &bytes, &size) < 0) return NULL;
    ssize_t n = send((int)socket, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    int later = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    c->written = n < 0 ? 0 : n;
    if (n < 0 ? later : n < size) return made;
    Py_DECREF(made);
    return PyLong_FromSsize_t(size);
}
#endif
