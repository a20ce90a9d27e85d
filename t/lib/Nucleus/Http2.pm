package Nucleus::Http2;

# A raw HTTP/2 client over TCP (RFC 9113, prior knowledge): the frames are those that the test says.
#
#     my $h = Nucleus::Http2->new(port => 8080);
#     my $id = $h->open('/events', '{"id":"a"}');        # a POST with its body
#     my $s = $h->answer($id);                           # { status, body, ended, reset }
#
# SETTINGS and PING of the peer are answered.  What the peer allows to be sent is in "window" (the
# connection's under 0, then by stream); send_data sends whatever the windows say, send_body obeys.

use strict;
use warnings;

use IO::Select;
use JSON::PP ();
use Time::HiRes qw(time);

use Nucleus::Client;

use constant {
    TIMEOUT  => 30,
    MAX_DATA => 16_384,       # bytes of a frame, until the peer's settings say more
    WINDOW   => 65_535,       # bytes, RFC 9113, section 6.9.2
};

use constant {
    DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, PING => 6, GOAWAY => 7,
    WINDOW_UPDATE => 8, CONTINUATION => 9,
    END_STREAM => 1, ACK => 1, END_HEADERS => 4, PADDED => 8,
    SETTING_INITIAL_WINDOW => 4,
};

# Options: port; window (bytes that each stream may send to us at first).
sub new {
    my ($class, %opt) = @_;

    my $tcp = Nucleus::Client->new(port => $opt{port});
    my $self = bless {
        tcp     => $tcp,
        in      => '',
        next    => 1,
        initial => WINDOW,
        window  => { 0 => WINDOW },
        streams => {},
    }, $class;

    my $settings = defined $opt{window} ? pack('nN', SETTING_INITIAL_WINDOW, $opt{window}) : '';
    $tcp->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    $self->frame(SETTINGS, 0, 0, $settings);

    return $self;
}

sub frame {
    my ($self, $type, $flags, $stream, $payload) = @_;

    my $length = length $payload;

    return $self->{tcp}->send(pack('CnCCN', $length >> 16, $length & 0xffff, $type, $flags, $stream) . $payload);
}

# HPACK, RFC 7541: every field a literal, not indexed, not compressed.
sub fields {
    my (@fields) = @_;

    my $length = sub {
        my ($n) = @_;
        return chr $n if $n < 127;
        my $out = chr 127;
        $n -= 127;
        while ($n >= 128) {
            $out .= chr(128 | $n & 127);
            $n >>= 7;
        }
        return $out . chr $n;
    };
    my $text = '';

    while (my ($name, $value) = splice @fields, 0, 2) {
        $text .= "\0" . $length->(length $name) . $name . $length->(length $value) . $value;
    }

    return $text;
}

# The headers of a request; its stream.  Options: method (POST), type, headers (a list), end.
sub start {
    my ($self, $uri, %opt) = @_;

    my $id = $self->{next};
    $self->{next} += 2;
    $self->{window}{$id} = $self->{initial};
    $self->{streams}{$id} = { body => '' };

    my @fields = (
        ':method'      => $opt{method} // 'POST',
        ':scheme'      => 'http',
        ':path'        => $uri,
        ':authority'   => 'localhost',
        'content-type' => $opt{type} // 'application/json',
        @{ $opt{headers} // [] },
    );
    $self->frame(HEADERS, END_HEADERS | ($opt{end} ? END_STREAM : 0), $id, fields(@fields));

    return $id;
}

# Fields after a body, which end it.
sub trailers {
    my ($self, $id, @fields) = @_;

    return $self->frame(HEADERS, END_HEADERS | END_STREAM, $id, fields(@fields));
}

# One frame.  Options: end, pad (bytes).
sub send_data {
    my ($self, $id, $bytes, %opt) = @_;

    my $flags = ($opt{end} ? END_STREAM : 0) | ($opt{pad} ? PADDED : 0);
    my $payload = $opt{pad} ? chr($opt{pad}) . $bytes . "\0" x $opt{pad} : $bytes;
    $self->{window}{$_} -= length $payload for 0, $id;

    return $self->frame(DATA, $flags, $id, $payload);
}

# As many frames as it takes, each when the windows allow it.  False when they do not in time, or
# the stream is over.
sub send_body {
    my ($self, $id, $bytes, %opt) = @_;

    my $at = 0;

    do {
        my $room = 0;

        if (length $bytes) {
            return 0 if !$self->wait(sub {
                $room = (sort { $a <=> $b } $self->{window}{0}, $self->{window}{$id}, MAX_DATA)[0];
                return $room > 0 || $self->over($id);
            });
            return 0 if $self->over($id);
        }

        my $piece = substr($bytes, $at, $room);
        $at += length $piece;
        $self->send_data($id, $piece, end => $at == length($bytes) && ($opt{end} // 1)) or return 0;
    } while ($at < length $bytes);

    return 1;
}

# A whole request.
sub open {
    my ($self, $uri, $body, %opt) = @_;

    my $id = $self->start($uri, %opt);
    $self->send_body($id, $body);

    return $id;
}

sub reset { return $_[0]->frame(RST_STREAM, 0, $_[1], pack('N', $_[2] // 8)) }
sub goaway { return $_[0]->frame(GOAWAY, 0, 0, pack('NN', 0, 0)) }
sub allow { return $_[0]->frame(WINDOW_UPDATE, 0, $_[1], pack('N', $_[2])) }
sub close { return $_[0]{tcp}->close }
sub abort { return $_[0]{tcp}->reset }

sub stream { return $_[0]{streams}{ $_[1] } }
sub gone   { return $_[0]{goaway} }
sub closed { return $_[0]{eof} }

# Has the peer said all it has to say of the stream?
sub over {
    my ($self, $id) = @_;

    my $s = $self->{streams}{$id};

    return $s->{ended} || defined $s->{reset};
}

# Handles what comes until the code returns true; false after "seconds" or at the end.
sub wait {
    my ($self, $code, $seconds) = @_;

    my $end = time + ($seconds // TIMEOUT);

    while (1) {
        my $value = $code->();
        return $value if $value;

        my $left = $end - time;
        return if $self->{eof} || $left <= 0;

        my $socket = $self->{tcp}->socket;
        next if !IO::Select->new($socket)->can_read($left);

        my $n = sysread($socket, $self->{in}, 1 << 17, length $self->{in});
        $self->{eof} = 1 if defined $n ? $n == 0 : !$!{EAGAIN} && !$!{EINTR};
        $self->take_frames;
    }
}

# The stream when its answer is whole, or it was reset; undef when neither came.
sub answer {
    my ($self, $id, $seconds) = @_;

    return $self->wait(sub { $self->over($id) }, $seconds) ? $self->{streams}{$id} : undef;
}

sub take_frames {
    my ($self) = @_;

    while (length $self->{in} >= 9) {
        my ($high, $low, $type, $flags, $stream) = unpack 'CnCCN', $self->{in};
        my $length = $high << 16 | $low;
        return if length $self->{in} < 9 + $length;

        my $payload = substr($self->{in}, 9, $length);
        substr($self->{in}, 0, 9 + $length, '');
        $self->take($type, $flags, $stream & 0x7fffffff, $payload);
    }
}

sub take {
    my ($self, $type, $flags, $id, $payload) = @_;

    my $s = $self->{streams}{$id};

    if ($type == SETTINGS && !($flags & ACK)) {
        $self->settings($payload);
        $self->frame(SETTINGS, ACK, 0, '');
    }
    elsif ($type == PING && !($flags & ACK)) {
        $self->frame(PING, ACK, 0, $payload);
    }
    elsif ($type == GOAWAY) {
        my ($last, $code) = unpack 'NN', $payload;
        $self->{goaway} = { last => $last, code => $code };
    }
    elsif ($type == WINDOW_UPDATE) {
        $self->{window}{$id} += unpack 'N', $payload;
    }
    elsif ($type == RST_STREAM) {
        $s->{reset} = unpack 'N', $payload;
    }
    elsif ($type == HEADERS) {
        $s->{status} = status($payload);
        $s->{ended} = 1 if $flags & END_STREAM;
    }
    elsif ($type == DATA) {
        $s->{body} .= $payload;
        $s->{ended} = 1 if $flags & END_STREAM;
        $self->allow(0, length $payload) if length $payload;
    }
}

sub settings {
    my ($self, $payload) = @_;

    my %value = unpack '(nN)*', $payload;
    my $window = $value{ +SETTING_INITIAL_WINDOW } // return;

    $_ += $window - $self->{initial} for map { $self->{window}{$_} } grep { $_ } keys %{ $self->{window} };
    $self->{initial} = $window;
}

# The status stands first (RFC 9113, section 8.3), as an index of the static table or three digits.
sub status {
    my ($block) = @_;

    my @static = (200, 204, 206, 304, 400, 404, 500);

    # an update of the table's size may come before
    $block =~ s/^[\x20-\x3f]//;
    return $static[ ord($1) - 0x88 ] if $block =~ /^([\x88-\x8e])/;
    return $1 if $block =~ /^[\x08\x18\x48]\x03(\d{3})/;

    die sprintf "no status in %vd\n", $block;
}

1;
