/* Frames that are no messages: greetings, rooms that are joined and left, an agent's answers, shared state; as in
   client/session.py, client/streams.py and client/sharing.py. Part of _hot.c.

   Functions for one frame return 1 if it is recorded, 0 if it is "not mine" and nothing is changed, -1 for an error. */

enum { W_USER, W_REPLICA, W_CONVERSATIONS, W_READ, W_RESUME }; /* slots, as in client/envelope.py */
enum { J_ROOM, J_HEAD, J_COMPLETE };
enum { A_ROOM, A_TEXT, A_RUN, A_EVENT, A_NUMBER };
enum { S_ROOM, S_SEQ, S_TEXT, S_NUMBER, S_VERSION };           /* read marks and edits */
enum { P_ROOM, P_USERS };
enum { U_USER, U_EMAIL, U_NAME };

/* -- rooms ---------------------------------------------------------------------------------------------------------- */

/* Record that a room is joined, as `ChatSession._joined` does. `complete`: YES, NO or NOTHING. */
static int joined(Core *c, int64_t now, PyObject *label, int64_t head, int complete) {
    uint32_t conv;
    int64_t start = head, from = NONE;
    PyObject *outside = get_table(c->session, OUTSIDE, &PySet_Type), *asked = get_table(c->session, ASKED, &PyDict_Type);
    PyObject *last = get_table(c->session, LAST, &PyDict_Type), *value = NULL;
    int done = outside == NULL || asked == NULL || last == NULL || planned(c, label, &conv) < 0 ? -1 : 0;
    if (done == 0) done = PySet_Discard(outside, label) < 0 ? -1 : pop(asked, label, &value);
    if (done == 1) from = PyLong_AsLongLong(value);
    if (done >= 0 && complete == YES) {
        PyObject *known = PyDict_GetItemWithError(last, label);
        if (known != NULL) start = PyLong_AsLongLong(known);
    }
    if (PyErr_Occurred()) done = -1;
    if (done >= 0) {
        uint8_t flags = complete == YES ? CONTINUED : complete == NO ? REFUSED_JOIN : 0;
        put_event(c, now, K_JOIN, flags, 0, conv, NOBODY, 0, start, from, 0, 0);
        if (complete != YES && conv != NOBODY) done = raise_to(last, label, head);
    }
    Py_XDECREF(value);
    Py_XDECREF(outside);
    Py_XDECREF(asked);
    Py_XDECREF(last);
    return done < 0 ? -1 : call_hook(c, ON_JOINED, Py_BuildValue("(O)", label));
}

static int join(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *head = value_in(s, m, J_HEAD), *complete = value_in(s, m, J_COMPLETE);
    int is = complete->is == YES || complete->is == NO ? complete->is : NOTHING;
    if (head->is != NUMBER || head->number < 0 || !pen_room(c->pen, 1)) return 0;
    PyObject *label = label_of(c, value_in(s, m, J_ROOM));
    if (label == NULL) return PyErr_Occurred() ? -1 : 0;
    c->frames++;
    int done = joined(c, now, label, head->number, is);
    Py_DECREF(label);
    return done < 0 ? -1 : 1;
}

static int leave(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    uint32_t conv;
    static const int tables[] = {ASKED, LAST};
    PyObject *label = pen_room(c->pen, 1) ? label_of(c, value_in(s, m, J_ROOM)) : NULL;
    if (label == NULL) return PyErr_Occurred() ? -1 : 0;
    int done = planned(c, label, &conv);
    if (done >= 0) {
        c->frames++;
        put_event(c, now, K_LEAVE, 0, 0, conv, NOBODY, 0, NONE, NONE, 0, 0);
    }
    if (done == 1) {
        PyObject *outside = get_table(c->session, OUTSIDE, &PySet_Type);
        done = outside == NULL ? -1 : PySet_Add(outside, label);
        Py_XDECREF(outside);
    }
    if (done >= 0) done = pop(c->seen, label, NULL);
    for (int n = 0; n < 2 && done >= 0; n++) {
        PyObject *table = get_table(c->session, tables[n], &PyDict_Type);
        done = table == NULL ? -1 : pop(table, label, NULL);
        Py_XDECREF(table);
    }
    if (done >= 0) done = call_hook(c, ON_LEFT, Py_BuildValue("(O)", label));
    Py_DECREF(label);
    return done < 0 ? -1 : 1;
}

/* -- greetings ------------------------------------------------------------------------------------------------------ */

/* Record a read mark that is shown, as `Shown._mark` does. */
static void put_mark(const Core *c, int64_t now, uint32_t conv, int64_t seq) {
    uint8_t digits[24];
    Sink out = {digits, digits + sizeof digits};
    put_number(&out, (uint64_t)seq);
    pen_put(c->pen, now, K_SEEN, 0, SOCKET, READ_MARK, c->client, c->conn, conv, c->client, 0, NONE, seq, 0,
            crc32_on(0, digits, out.at - digits));
}

/* A greeting that was read and is mine. */
typedef struct {
    int64_t user, replica, handshake_us;
    int rooms, marks, subscribed, shown;
    Member room[MEMBERS], mark[MEMBERS];
} Greeting;

/* Whether all members have numbers that are sequence numbers. */
static int numbers_of(const Member *members, int count) {
    for (int n = 0; n < count; n++)
        if (members[n].value.is != NUMBER || members[n].value.number < 0) return 0;
    return count >= 0;
}

static int read_greeting(Core *c, const Scan *s, const Meaning *m, Greeting *g) {
    const Value *replica = value_in(s, m, W_REPLICA), *rooms = value_in(s, m, W_CONVERSATIONS);
    const Value *marks = value_in(s, m, W_READ), *resume = value_in(s, m, W_RESUME);
    int known, silent = is_none(c->session, ON_WELCOME);
    if (silent != 1) return silent;
    g->replica = NOBODY;
    if ((known = known_name(c, value_in(s, m, W_USER), &g->user)) != 1) return known;
    if (!c->begun && replica->is != ABSENT && (known = known_name(c, replica, &g->replica)) != 1) return known;
    if (rooms->is != OBJECT || (marks->is != ABSENT && marks->is != OBJECT)) return 0;
    if (resume->is != ABSENT && resume->is != YES && resume->is != NO) return 0;
    g->subscribed = resume->is != YES;
    g->rooms = members_of(c->envelope, rooms, g->room);
    g->marks = marks->is == OBJECT ? members_of(c->envelope, marks, g->mark) : 0;
    if (!numbers_of(g->room, g->rooms) || !numbers_of(g->mark, g->marks)) return 0;
    g->shown = is_none(c->session, SHOWN);
    if (g->shown < 0) return -1;
    g->shown = !g->shown && marks->is == OBJECT;
    g->handshake_us = -1;
    if (!c->begun) {
        long long due = 0;
        PyObject *value = get(c->session, DUE);
        known = as_number(value, INT64_MAX, &due);
        Py_XDECREF(value);
        if (!known) return value == NULL ? -1 : 0;
        g->handshake_us = due / 1000 < UINT32_MAX ? due / 1000 : UINT32_MAX;
    }
    return pen_room(c->pen, 2 + g->rooms * (g->subscribed + g->shown));
}

/* Record the read marks of the rooms that a greeting names, in its order; 0, or -1 for an error. */
static int greeted_marks(Core *c, int64_t now, const Greeting *g) {
    for (int n = 0; n < g->rooms; n++) {
        const Value *key = &g->room[n].key;
        PyObject *name = label_of(c, key);
        uint32_t conv;
        int64_t seq = 0;
        int known = name == NULL ? -1 : planned(c, name, &conv);
        Py_XDECREF(name);
        if (known < 0) return -1;
        for (int k = 0; k < g->marks; k++) {
            const Value *other = &g->mark[k].key;
            if (other->size == key->size && !memcmp(other->p, key->p, (size_t)key->size)) seq = g->mark[k].value.number;
        }
        if (known) put_mark(c, now, conv, seq);
    }
    return 0;
}

static int greeting(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    Greeting g;
    int result = read_greeting(c, s, m, &g);
    if (result != 1) return result;
    c->frames++;
    if (g.handshake_us >= 0) {
        if (PyObject_SetAttr((PyObject *)c->session, attributes[DUE], Py_None) < 0) return -1;
        put_event(c, now, K_CONNECT, 0, 0, NOBODY, (uint32_t)g.replica, 0, NONE, NONE, (uint32_t)g.handshake_us, 0);
        c->begun = 1;
    }
    put_event(c, now, K_IDENTITY, 0, 0, NOBODY, NOBODY, SOCKET, NONE, g.user, 0, 0);
    if (PyObject_SetAttr((PyObject *)c->session, attributes[WELCOMED], Py_True) < 0) return -1;
    if (g.shown && greeted_marks(c, now, &g) < 0) return -1;
    for (int n = 0; g.subscribed && n < g.rooms; n++) {
        PyObject *label = label_of(c, &g.room[n].key);
        int done = label == NULL ? -1 : joined(c, now, label, g.room[n].value.number, NOTHING);
        Py_XDECREF(label);
        if (done < 0) return -1;
    }
    return 1;
}

/* -- answers of an agent -------------------------------------------------------------------------------------------------- */

enum { STARTED = 1, CHUNK = 5, COMPLETED = 6, FAILED = 7 };
static const char *const agent_events[] = {
    NULL, "started", "thinking", "tool_started", "tool_completed", "chunk", "completed", "error", "broken"};

/* One event of an answer. `answer`: the answer that may be one to an own question, NULL if it is none. */
typedef struct {
    PyObject *label, *run, *text, *answer, *answers;
    const uint8_t *p;
    Py_ssize_t size;
    int64_t author, question, asked; /* asked: the number of the question in the room */
    uint32_t conv, chunk, digest, run_digest;
    int event;
} Said;

static int event_number(const Value *v) {
    if (v->is != TEXT || v->escaped) return 0;
    for (int n = 1; n < (int)(sizeof agent_events / sizeof *agent_events); n++)
        if ((Py_ssize_t)strlen(agent_events[n]) == v->size && !memcmp(agent_events[n], v->p, (size_t)v->size)) return n;
    return 0;
}

/* The number of its question at the end of the id of an answer: 1, or 0 if it has another form. */
static int question_number(const Envelope *e, const Value *run, int64_t *number) {
    const uint8_t *p = run->p + run->size;
    int64_t value = 0, unit = 1;
    int digits = 0;
    while (p > run->p && p[-1] >= '0' && p[-1] <= '9' && digits < 15) value += (*--p - '0') * unit, unit *= 10, digits++;
    *number = value;
    return digits > 0 && e->before.size > 0 && p - run->p >= e->before.size
        && !memcmp(p - e->before.size, e->before.text, (size_t)e->before.size);
}

/* Find the own question of an answer without changing anything, as `Questions.answered` does: 1, 0 not mine, -1 an error.
   What is left to Python comes once in an answer: its beginning, the event that names the question, the first token. */
static int find_question(Core *c, Said *a) {
    PyObject *questions = get(c->session, QUESTIONS), *value = NULL, *numbers = NULL, *key = NULL;
    int result = questions == NULL || (a->answers = get_table(questions, ANSWERS, &PyDict_Type)) == NULL ? -1 : 1;
    long long counter = NONE;
    a->question = NONE;
    if (result == 1) a->answer = Py_XNewRef(PyDict_GetItemWithError(a->answers, a->run));
    if (result == 1 && a->answer == NULL) {
        result = PyErr_Occurred() ? -1 : PyDict_Size(c->open) == 0;
    } else if (result == 1) {
        int token = a->event == CHUNK && a->size > 0, untold = is_none(a->answer, FIRST_NS);
        value = get(a->answer, QUESTION);
        if (untold < 0 || value == NULL) result = -1;
        else counter = PyLong_AsLongLong(value);
        if (result == 1 && untold) result = !token;
        if (result == 1 && counter == NONE) {
            key = Py_BuildValue("(OL)", a->label, (long long)a->asked);
            numbers = key == NULL ? NULL : get_table(questions, BY_NUMBER, &PyDict_Type);
            int named = numbers == NULL ? -1 : PyDict_Contains(numbers, key);
            result = named < 0 ? -1 : !named;
        } else if (result == 1 && !untold) {
            PyObject *timed = get(a->answer, TIMED);
            result = timed == NULL ? -1 : timed == Py_True;
            Py_XDECREF(timed);
        }
        a->question = counter;
        if (PyErr_Occurred()) result = -1;
    }
    Py_XDECREF(questions);
    Py_XDECREF(value);
    Py_XDECREF(numbers);
    Py_XDECREF(key);
    return result;
}

/* Count the pieces of an answer, as `Streams.said` does; `*size`, `*digest` and `*flags` are those of the record. */
static int follow_answer(PyObject *open, const Said *a, uint32_t *size, uint32_t *digest, uint8_t *flags) {
    PyObject *known = PyDict_GetItemWithError(open, a->run), *next = NULL;
    long long whole[3] = {0, 0, NONE};
    *size = (uint32_t)a->size;
    *digest = a->digest;
    *flags = 0;
    if (known == NULL && PyErr_Occurred()) return -1;
    if (known != NULL && !PyArg_ParseTuple(known, "LLL", &whole[0], &whole[1], &whole[2])) return -1;
    if (a->event == STARTED) {
        next = Py_BuildValue("(iii)", 0, 0, 0);
    } else if (a->event == CHUNK && a->chunk == whole[2]) {
        next = Py_BuildValue("(ILL)", crc32_on((uint32_t)whole[0], a->p, a->size), whole[1] + a->size, whole[2] + 1);
    } else if (a->event == CHUNK || a->event == FAILED || a->event == COMPLETED) {
        if (a->event == COMPLETED && known != NULL && whole[2]) {
            if (a->size && (whole[1] != a->size || whole[0] != a->digest)) *flags = CORRUPT;
            *size = (uint32_t)whole[1];
            *digest = (uint32_t)whole[0];
        }
        return known == NULL ? 0 : PyDict_DelItem(open, a->run);
    } else {
        return 0;
    }
    int done = next == NULL ? -1 : PyDict_SetItem(open, a->run, next);
    Py_XDECREF(next);
    return done;
}

static int read_said(Core *c, const Scan *s, const Meaning *m, Said *a) {
    const Value *text = value_in(s, m, A_TEXT), *run = value_in(s, m, A_RUN), *number = value_in(s, m, A_NUMBER);
    int known;
    if ((a->event = event_number(value_in(s, m, A_EVENT))) == 0) return 0;
    if ((known = known_name(c, run, &a->author)) != 1) return known;
    if (!question_number(c->envelope, run, &a->asked)) return 0;
    if (number->is != ABSENT && (number->is != NUMBER || number->number < 0 || number->number > UINT32_MAX)) return 0;
    a->chunk = number->is == NUMBER ? (uint32_t)number->number : 0;
    if (text->is != ABSENT && !text_of(text, &a->p, &a->size)) return 0;
    a->digest = crc32_on(0, a->p, a->size);
    a->run_digest = crc32_on(0, run->p, run->size);
    if ((a->label = label_of(c, value_in(s, m, A_ROOM))) == NULL) return PyErr_Occurred() ? -1 : 0;
    if (planned(c, a->label, &a->conv) < 0 || (a->run = plain_name(run)) == NULL) return -1;
    a->text = text->is == ABSENT ? Py_NewRef(Py_None) : PyUnicode_FromStringAndSize((const char *)a->p, a->size);
    return a->text == NULL ? -1 : find_question(c, a);
}

static int record_said(Core *c, int64_t now, const Said *a, PyObject *open) {
    uint32_t size, digest;
    uint8_t flags;
    c->frames++;
    if (follow_answer(open, a, &size, &digest, &flags) < 0) return -1;
    if (a->answer != NULL && (a->event == COMPLETED || a->event == FAILED) && PyDict_DelItem(a->answers, a->run) < 0) return -1;
    put_event(c, now, K_RUN, flags, (uint8_t)a->event, a->conv, (uint32_t)a->author, a->chunk, a->question, a->run_digest,
              size, digest);
    int silent = is_none(c->session, ON_AGENT);
    if (silent != 0) return silent < 0 ? -1 : 1;
    return call_hook(c, ON_AGENT, Py_BuildValue("((iOOLOO(OsI)))", AGENT, a->label, a->text, (long long)a->asked, Py_None,
                                                Py_None, a->run, agent_events[a->event], a->chunk)) < 0 ? -1 : 1;
}

static int agent_said(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    Said a = {.p = (const uint8_t *)""};
    PyObject *streams = NULL, *open = NULL;
    int result = read_said(c, s, m, &a);
    if (result == 1 && ((streams = get(c->session, STREAMS)) == NULL || (open = get_table(streams, OPEN, &PyDict_Type)) == NULL))
        result = -1;
    if (result == 1 && (!pen_room(c->pen, 1) || PyDict_Size(open) >= OPEN_MAX)) result = 0;
    if (result == 1) result = record_said(c, now, &a, open);
    PyObject *parts[] = {a.label, a.run, a.text, a.answer, a.answers, streams, open};
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) Py_XDECREF(parts[n]);
    return result;
}

/* -- shared state --------------------------------------------------------------------------------------------------- */

static int mark(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *seq = value_in(s, m, S_SEQ);
    uint32_t conv;
    if (seq->is != NUMBER || seq->number < 0 || !pen_room(c->pen, 1)) return 0;
    PyObject *label = label_of(c, value_in(s, m, S_ROOM));
    if (label == NULL) return PyErr_Occurred() ? -1 : 0;
    int known = planned(c, label, &conv), hidden = is_none(c->session, SHOWN);
    Py_DECREF(label);
    if (known < 0 || hidden < 0) return -1;
    c->frames++;
    if (known && !hidden) put_mark(c, now, conv, seq->number);
    return 1;
}

/* Note that an edit is known, if it is the next one, and none after it is known: 1, 0 not mine, -1 an error. */
static int know_edit(PyObject *shown, PyObject *label, int64_t number) {
    PyObject *edits = get_table(shown, EDITS, &PyDict_Type), *beyond = get_table(shown, BEYOND, &PyDict_Type), *value = NULL;
    int result = edits == NULL || beyond == NULL ? -1 : 0;
    long long last = 0;
    PyObject *known = result ? NULL : PyDict_GetItemWithError(edits, label);
    PyObject *later = result || PyErr_Occurred() ? NULL : PyDict_GetItemWithError(beyond, label);
    int next = later == NULL || (PySet_Check(later) && PySet_Size(later) == 0);
    if (result == 0 && next && !PyErr_Occurred() && (known == NULL || as_number(known, INT64_MAX - 1, &last))) {
        result = number == last + 1 || (number <= last && known != NULL);
        if (number == last + 1)
            result = (value = PyLong_FromLongLong(number)) == NULL || PyDict_SetItem(edits, label, value) < 0 ? -1 : 1;
    }
    Py_XDECREF(edits);
    Py_XDECREF(beyond);
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : result;
}

static int record_edit(Core *c, int64_t now, PyObject *shown, uint32_t conv, int64_t version, const Body *b) {
    PyObject *versions = get_table(shown, VERSIONS, &PyDict_Type);
    PyObject *message = Py_BuildValue("(KK)", (unsigned long long)b->author, (unsigned long long)b->counter);
    int done = versions == NULL || message == NULL ? -1 : PyDict_Contains(versions, message);
    if (done >= 0) done = raise_to(versions, message, done == 0 && version < 1 ? 1 : version);
    Py_XDECREF(versions);
    Py_XDECREF(message);
    if (done < 0) return -1;
    pen_put(c->pen, now, K_SEEN, 0, SOCKET, EDIT, c->client, c->conn, conv, (uint32_t)b->author, (uint32_t)b->counter, NONE,
            version, 0, b->digest);
    return 1;
}

static int edit(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *numbers[] = {value_in(s, m, S_SEQ), value_in(s, m, S_NUMBER), value_in(s, m, S_VERSION)};
    const uint8_t *p;
    Py_ssize_t size, tag_size;
    uint32_t conv;
    Body body;
    for (int n = 0; n < 3; n++)
        if (numbers[n]->is != NUMBER || numbers[n]->number < 0) return 0;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &tag_size);
    if (tag == NULL) return -1;
    if (!text_of(value_in(s, m, S_TEXT), &p, &size) || !read_body(p, size, tag, tag_size, &body) || !pen_room(c->pen, 1)) return 0;
    PyObject *label = label_of(c, value_in(s, m, S_ROOM)), *shown = label == NULL ? NULL : get(c->session, SHOWN);
    int result = shown == NULL ? (PyErr_Occurred() ? -1 : 0) : planned(c, label, &conv);
    if (result == 1 && shown != Py_None) result = know_edit(shown, label, numbers[1]->number);
    if (result == 1) c->frames++;
    if (result == 1 && shown != Py_None) result = record_edit(c, now, shown, conv, numbers[2]->number, &body);
    Py_XDECREF(label);
    Py_XDECREF(shown);
    return result;
}

static int presence(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    Member users[MEMBERS];
    int64_t about[MEMBERS];
    uint32_t conv;
    const Value *object = value_in(s, m, P_USERS);
    int count = object->is != OBJECT ? -1 : members_of(c->envelope, object, users);
    if (count < 0 || !pen_room(c->pen, count)) return 0;
    PyObject *label = label_of(c, value_in(s, m, P_ROOM));
    if (label == NULL) return PyErr_Occurred() ? -1 : 0;
    int shown = planned(c, label, &conv), hidden = is_none(c->session, SHOWN);
    Py_DECREF(label);
    if (shown < 0 || hidden < 0) return -1;
    shown = shown && !hidden;
    for (int n = 0; n < count; n++) {
        int known = users[n].value.is == YES || users[n].value.is == NO;
        if (known && shown) known = known_name(c, &users[n].key, &about[n]);
        if (known != 1) return known;
    }
    c->frames++;
    for (int n = 0; shown && n < count; n++)
        put_event(c, now, K_PRESENCE, 0, 0, conv, (uint32_t)about[n], users[n].value.is == YES, NONE, NONE, 0, 0);
    return 1;
}

static int profile(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *parts[] = {value_in(s, m, U_USER), value_in(s, m, U_EMAIL), value_in(s, m, U_NAME)};
    int64_t user;
    uint32_t digest = 0;
    int known = known_name(c, parts[0], &user);
    if (known != 1 || !pen_room(c->pen, 1)) return known < 0 ? -1 : 0;
    for (int n = 0; n < 3; n++) {
        if (parts[n]->is != TEXT || parts[n]->escaped) return 0;
        if (n) digest = crc32_on(digest, (const uint8_t *)"\x1f", 1);
        digest = crc32_on(digest, parts[n]->p, parts[n]->size);
    }
    c->frames++;
    pen_put(c->pen, now, K_SEEN, 0, SOCKET, PROFILE_STATE, c->client, c->conn, NOBODY, (uint32_t)user, 0, NONE, NONE, 0, digest);
    return 1;
}
