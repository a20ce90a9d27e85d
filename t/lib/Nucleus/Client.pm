package Nucleus::Client;

# A raw HTTP/1.1 client: what is sent is exactly what the test says, in the pieces that it says.
#
#     my $c = Nucleus::Client->new(port => 8080);
#     $c->send("POST /events HTTP/1.1\r\n...");
#     my $r = $c->response;           # Nucleus::Response, or undef when none came

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_LINGER SO_RCVBUF SHUT_WR);
use Time::HiRes qw(time);

use constant TIMEOUT => 30;

# Options: port, or unix (the path of a socket), timeout (seconds for each answer), rcvbuf (bytes).  Dies unless connected, or
# returns undef with "may_fail".
sub new {
    my ($class, %opt) = @_;

    my $socket = $opt{unix}
        ? IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $opt{unix})
        : IO::Socket::INET->new(
            PeerAddr => '127.0.0.1',
            PeerPort => $opt{port},
            Proto    => 'tcp',
            Timeout  => $opt{timeout} // TIMEOUT,
        );

    if (!$socket) {
        return if $opt{may_fail};
        die 'connect to ' . ($opt{unix} // "127.0.0.1:$opt{port}") . " failed: $!\n";
    }

    $socket->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1) if !$opt{unix};
    $socket->setsockopt(SOL_SOCKET, SO_RCVBUF, $opt{rcvbuf}) if $opt{rcvbuf};
    $socket->blocking(0);

    return bless {
        socket  => $socket,
        timeout => $opt{timeout} // TIMEOUT,
        in      => '',
        eof     => 0,
    }, $class;
}

sub socket { return $_[0]{socket} }

# The text of a request.  Headers is a list of names and values; Host always stands first, and
# Content-Length last unless the headers say it or "Transfer-Encoding".
sub text {
    my ($method, $uri, $headers, $body) = @_;

    my $text = "$method $uri HTTP/1.1\r\nHost: localhost\r\n";
    my $length = defined $body;

    for (my $i = 0; $i < @$headers; $i += 2) {
        $text .= "$headers->[$i]: $headers->[$i + 1]\r\n";
        $length = 0 if $headers->[$i] =~ /^(?:content-length|transfer-encoding)$/i;
    }

    $text .= 'Content-Length: ' . length($body) . "\r\n" if $length;

    return "$text\r\n" . ($body // '');
}

# A body in chunks; sizes are taken from the list in turn, the last one again and again.
sub chunked {
    my ($body, @sizes) = @_;

    my ($text, $at) = ('', 0);

    while ($at < length $body) {
        my $size = @sizes > 1 ? shift @sizes : $sizes[0];
        my $piece = substr($body, $at, $size);
        $text .= sprintf("%x\r\n", length $piece) . "$piece\r\n";
        $at += length $piece;
    }

    return "${text}0\r\n\r\n";
}

# Writes all, and reads meanwhile, since a server may answer before it has read.  False when
# the peer has closed.
sub send {
    my ($self, $bytes) = @_;

    my $end = time + $self->{timeout};
    my $at = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($at < length $bytes) {
        my $n = syswrite($self->{socket}, $bytes, 1 << 17, $at);

        if (defined $n) {
            $at += $n;
            next;
        }

        return 0 if !$!{EAGAIN} && !$!{EINTR};
        return 0 if time > $end;

        $self->_fill(0);
        IO::Select->new($self->{socket})->can_write(0.05);
    }

    return 1;
}

# Reads once what is there, waiting up to "seconds".  False when nothing came.
sub _fill {
    my ($self, $seconds) = @_;

    return 0 if $self->{eof};
    return 0 if !IO::Select->new($self->{socket})->can_read($seconds);

    my $n = sysread($self->{socket}, $self->{in}, 1 << 17, length $self->{in});

    if (!defined $n) {
        return 0 if $!{EAGAIN} || $!{EINTR};
        $self->{eof} = 1;
        $self->{reset} = $!{ECONNRESET} ? 1 : 0;
        return 0;
    }

    $self->{eof} = 1 if $n == 0;

    return $n > 0;
}

sub _fill_until {
    my ($self, $done, $seconds) = @_;

    my $end = time + ($seconds // $self->{timeout});

    while (!$done->()) {
        my $left = $end - time;
        return 0 if $self->{eof} || $left <= 0;
        $self->_fill($left);
    }

    return 1;
}

# The next response.  Options: head (it has no body), interim (1xx are given too, not passed
# over), timeout.  undef when the connection ended first or nothing came in time.
sub response {
    my ($self, %opt) = @_;

    while (1) {
        my $whole = $self->_fill_until(sub { $self->{in} =~ /\r\n\r\n/ }, $opt{timeout});
        return if !$whole;

        $self->{in} =~ s/^(.*?\r\n)\r\n//s;
        my $r = Nucleus::Response->new($1);
        return $r if $r->status < 200 && $opt{interim};
        next if $r->status < 200;

        return if !$self->_body($r, %opt);
        return $r;
    }
}

sub _body {
    my ($self, $r, %opt) = @_;

    return 1 if $opt{head} || $r->status == 204 || $r->status == 304;

    if (($r->header('Transfer-Encoding') // '') eq 'chunked') {
        return $self->_chunked_body($r, %opt);
    }

    my $length = $r->header('Content-Length');

    if (defined $length) {
        return 0
            if !$self->_fill_until(sub { length $self->{in} >= $length }, $opt{timeout});
        $r->{body} = substr($self->{in}, 0, $length, '');
        return 1;
    }

    $self->_fill_until(sub { $self->{eof} }, $opt{timeout});
    return 0 if !$self->{eof};
    $r->{body} = $self->{in};
    $self->{in} = '';

    return 1;
}

sub _chunked_body {
    my ($self, $r, %opt) = @_;

    $r->{body} = '';

    while (1) {
        return 0 if !$self->_fill_until(sub { $self->{in} =~ /\r\n/ }, $opt{timeout});

        $self->{in} =~ s/^([0-9a-fA-F]+)[^\r]*\r\n// or return 0;
        my $size = hex $1;

        return 0
            if !$self->_fill_until(sub { length $self->{in} >= $size + 2 }, $opt{timeout});
        $r->{body} .= substr($self->{in}, 0, $size, '');
        substr($self->{in}, 0, 2, '');

        return 1 if $size == 0;
    }
}

# One request and its response on this connection.
sub request {
    my ($self, $method, $uri, $headers, $body, %opt) = @_;

    $self->send(text($method, $uri, $headers, $body));

    return $self->response(head => $method eq 'HEAD', %opt);
}

# Has the peer closed, without a further byte?
sub closed {
    my ($self, $seconds) = @_;

    $self->_fill_until(sub { length $self->{in} }, $seconds);

    return $self->{eof} && $self->{in} eq '';
}

# The bytes that came and were not asked for.
sub rest { return $_[0]{in} }

sub half_close { $_[0]{socket}->shutdown(SHUT_WR) }

# Close with a TCP reset: what the peer still has to say to us is lost.
sub reset {
    my ($self) = @_;

    $self->{socket}->setsockopt(SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
    $self->close;
}

sub close {
    my ($self) = @_;

    CORE::close($self->{socket}) if $self->{socket};
    delete $self->{socket};
    $self->{eof} = 1;
}


package Nucleus::Response;

use JSON::PP ();

sub new {
    my ($class, $head) = @_;

    my ($first, @lines) = split /\r\n/, $head;
    my $self = bless { line => $first, status => 0, headers => [], body => '' }, $class;

    $self->{status} = $1 if $first =~ m{^HTTP/1\.[01] (\d{3})(?: |$)};

    for my $line (@lines) {
        my ($name, $value) = $line =~ /^([^:\s]+):[ \t]*(.*?)[ \t]*$/ or next;
        push @{ $self->{headers} }, [ lc $name, $value ];
    }

    return $self;
}

sub status { return $_[0]{status} }
sub body   { return $_[0]{body} }

# The value of a header, those of several joined by ", "; undef when it is not there.
sub header {
    my ($self, $name) = @_;

    my @values = map { $_->[1] } grep { $_->[0] eq lc $name } @{ $self->{headers} };

    return @values ? join(', ', @values) : undef;
}

# The body as JSON, or undef when it is not.
sub json {
    my ($self) = @_;

    return scalar eval { JSON::PP->new->utf8->decode($self->{body}) };
}

# What a failure message shows.
sub text {
    my ($self) = @_;

    return join "\n", $self->{line}, (map { "$_->[0]: $_->[1]" } @{ $self->{headers} }), '',
        substr($self->{body}, 0, 2000);
}

1;
