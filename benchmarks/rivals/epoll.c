/* epoll PORT request-response|burst SECONDS CONNECTIONS BYTES: moves the bytes of the frames, one write a message, and
   looks at none. What a client needs at least on this machine with this echo server. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000, BURST = 1000, SIZE_MAX_OF_FRAME = 65535 };
static unsigned char frame[SIZE_MAX_OF_FRAME + 8], data[65536];
static int sockets[MOST];
static long arrived[MOST]; /* bytes of answers that are not whole yet */

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double wall_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int upgraded(int port) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (send(fd, request, sizeof request - 1, 0) < 0 || recv(fd, data, sizeof data, 0) <= 0) fail("upgrade");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void pull(int n) {
    ssize_t got = recv(sockets[n], data, sizeof data, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) fail("recv");
    if (got > 0) arrived[n] += got;
}

static void push(int n, long size) {
    ssize_t sent;
    while ((sent = send(sockets[n], frame, size, 0)) < 0 && errno == EAGAIN) pull(n);
    if (sent != size) fail("send"); /* a frame this small is taken whole or not at all */
}

int main(int count, char **words) {
    if (count != 6) return 2;
    int burst = !strcmp(words[2], "burst"), connections = atoi(words[4]), bytes = atoi(words[5]);
    if (connections < 1 || connections > MOST || bytes < 1 || bytes > SIZE_MAX_OF_FRAME) return 2;
    long head = bytes < 126 ? 2 : 4, size = head + 4 + bytes, answer = head + bytes, done = 0;
    frame[0] = 0x81;
    frame[1] = 0x80 | (bytes < 126 ? bytes : 126);
    if (head == 4) frame[2] = bytes >> 8, frame[3] = bytes & 255;
    memcpy(frame + head, "key!", 4);
    for (int n = 0; n < bytes; n++) frame[head + 4 + n] = 'x' ^ "key!"[n & 3];
    int loop = epoll_create1(0);
    for (int n = 0; n < connections; n++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data = {.u32 = n}};
        sockets[n] = upgraded(atoi(words[1]));
        epoll_ctl(loop, EPOLL_CTL_ADD, sockets[n], &wanted);
    }
    struct epoll_event ready[128];
    double before = cpu_s(), end = wall_s() + atof(words[3]);
    for (int n = 0; !burst && n < connections; n++) push(n, size);
    for (int user = 0; wall_s() < end; user = (user + 1) % connections) {
        for (int n = 0; burst && n < BURST; n++) push(user, size);
        do {
            int found = epoll_wait(loop, ready, 128, 1000);
            for (int k = 0; k < found; k++) {
                int n = ready[k].data.u32;
                pull(n);
                for (; !burst && arrived[n] >= answer; arrived[n] -= answer, done++) push(n, size);
            }
        } while (burst && arrived[user] < BURST * answer);
        if (burst) arrived[user] -= BURST * answer, done += BURST;
    }
    printf("{\"messages\": %ld, \"cpu_s\": %.6f}\n", done, cpu_s() - before);
    return 0;
}
