package Nucleus::Ledger;

# The ledger: senders, processes of their own, write down what they send before they send it, and
# the answer when they have it.  In the end the store is held against it.
#
#     my $ledger = Nucleus::Ledger->new($t, seed => 1, senders => 4);
#     $ledger->start;
#     … kill and reload …
#     $ledger->stop;
#     $ledger->check('name');          # drains, and compares
#
# A request is sent again, with the same ids, in two cases, whose count "retries" has by cause:
#
#     refused   503 that says that nothing was stored
#     idle      not a byte came back on a connection that had been used before: nginx had closed it as
#               idle when the request was on its way.  Only without "kills": a process that was killed
#               looks the same, and may have stored the request
#
# Otherwise an id is sent once and never again.  What must hold of the last answer:
#
#     202                  in the store exactly once, unchanged
#     4xx                  not in the store
#     503 "outcome-unknown", or none    at most once, unchanged
#     503 otherwise        not in the store

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Handle;
use POSIX ();
use Test::More ();
use Time::HiRes qw(sleep time);

use Nucleus::Client;
use Nucleus::Store;

use constant ANSWER_SECONDS => 60;

# Options: seed; senders (4); bad (percent of requests that must be refused, 5); pause (seconds
# between two requests of a sender, at most; 0.02); name (of the files and the ids); kills (processes
# of nginx will be killed).
sub new {
    my ($class, $t, %opt) = @_;

    my $self = bless {
        t       => $t,
        seed    => $opt{seed} // 1,
        senders => $opt{senders} // 4,
        headers => $opt{headers} // [],
        bad     => $opt{bad} // 5,
        pause   => $opt{pause} // 0.02,
        name    => $opt{name} // 'ledger',
        kills   => $opt{kills} // 0,
        pids    => [],
        events  => {},
        counts  => {},
        answers => [],
        wrong   => [],
    }, $class;

    $self->{stop_file} = $t->dir . "/$self->{name}.stop";
    $self->{files} = [ map { { name => $t->dir . "/$self->{name}.$_", at => 0 } } 1 .. $self->{senders} ];

    return $self;
}

sub start {
    my ($self) = @_;

    for my $i (0 .. $self->{senders} - 1) {
        my $pid = fork;
        die "fork failed: $!\n" if !defined $pid;

        if ($pid == 0) {
            $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
            my $ok = eval { $self->send_all($i); 1 };
            print STDERR "sender $i: $@" if !$ok;
            POSIX::_exit($ok ? 0 : 1);
        }

        push @{ $self->{pids} }, $pid;
    }
}

# Let the senders finish what they are at.
sub stop {
    my ($self) = @_;

    $self->{t}->write_file($self->{stop_file}, '');

    my @failed;

    for my $pid (@{ $self->{pids} }) {
        my $ended = Nucleus::Test::poll_for(2 * ANSWER_SECONDS, sub { waitpid($pid, POSIX::WNOHANG()) == $pid });
        push @failed, "$pid does not end" if !$ended;
        push @failed, "$pid ended with $?" if $ended && $? != 0;
        kill KILL => $pid if !$ended;
    }

    $self->{pids} = [];

    Test::More::ok(!@failed, 'the senders end') or Test::More::diag("@failed");
}

DESTROY {
    my ($self) = @_;

    kill KILL => $_ for @{ $self->{pids} };
}

# ---- a sender

sub send_all {
    my ($self, $i) = @_;

    srand($self->{seed} * 1000 + $i);

    my $file = $self->{files}[$i]{name};
    open my $log, '>>:raw', $file or die "open of $file failed: $!\n";
    $log->autoflush(1);

    my $filler = join '', map { chr(32 + int rand 94) } 1 .. 400_000;
    $filler =~ tr/"\\/'|/;

    my $sender = {
        log    => $log,
        number => 0,
        prefix => "$self->{name}-$i-",
        filler => $filler,
        keep   => $i % 2,            # every other sender keeps its connection
        fresh  => 1,
    };

    my $parent = getppid;

    while (!-e $self->{stop_file} && getppid == $parent) {
        $self->send_one($sender);
        sleep rand($self->{pause}) if $self->{pause};
    }

    close $log or die "close failed: $!\n";
}

# 20 bytes to 300 KB, small ones more often.
sub random_size {
    return int(20 * (15_000 ** (rand() ** 2)));
}

sub new_event {
    my ($sender) = @_;

    my $id = $sender->{prefix} . ++$sender->{number};
    my $size = random_size();
    my $space = (' ', '', "\t")[ rand 3 ];
    my $event = qq({$space"id":$space"$id");
    $event .= q(,"n":12345678901234567890.10) if rand() < 0.3;
    $event .= q(,"e":"\u00e9\ud83d\ude00\\\\") if rand() < 0.3;

    my $left = $size - length($event) - 8;
    $event .= ',"x":"' . substr($sender->{filler}, rand(400_000 - $left), $left) . '"' if $left > 0;
    $event .= "$space}";

    return { id => $id, sha256 => sha256_hex($event), text => $event };
}

# Type, body and events of a request.
sub new_request {
    my ($self, $sender) = @_;

    my $kind = int rand 4;
    my $count = $kind < 2 ? 1 : 1 + int rand 8;
    my @events = map { new_event($sender) } 1 .. $count;
    my @texts = map { $_->{text} } @events;
    my $bad = rand(100) < $self->{bad};

    push @texts, '{"bad":' if $bad;

    return ('application/x-ndjson', join("\n", @texts) . "\n", \@events) if $kind == 2;
    return ('application/json', '[' . join(", \n", @texts) . ']', \@events) if $kind == 3 || $bad;
    return ('application/json', $texts[0], \@events);
}

# A request, until nothing asks for another attempt.
sub send_one {
    my ($self, $sender) = @_;

    my ($type, $body, $events) = $self->new_request($sender);
    my @headers = ('Content-Type' => $type, @{ $self->{headers} });
    push @headers, Connection => 'close' if !$sender->{keep};

    my $text;

    if (rand() < 0.2) {
        my @sizes = map { 1 + int rand 20_000 } 1 .. 20;
        $text = Nucleus::Client::text('POST', '/events', [ @headers, 'Transfer-Encoding' => 'chunked' ])
            . Nucleus::Client::chunked($body, @sizes);
    } else {
        $text = Nucleus::Client::text('POST', '/events', \@headers, $body);
    }

    while (1) {
        my $cause = $self->attempt($sender, $text, $events);

        return if !$cause || -e $self->{stop_file};
        print { $sender->{log} } "T $cause\n";
        sleep 0.05 + rand 0.2 if $cause eq 'refused';
    }
}

# Send once, write down the answer.  Returns why the request is to be sent again.
sub attempt {
    my ($self, $sender, $text, $events) = @_;

    my $log = $sender->{log};
    my $c = $self->connection($sender) or return;
    my $fresh = $sender->{fresh};
    my $request = ++$sender->{requests};

    print {$log} "S $request $_->{id} $_->{sha256}\n" for @$events;

    $c->send($text);
    my $r = $c->response(timeout => ANSWER_SECONDS);

    my $status = $r ? $r->status : 0;
    my $problem = $r && $status >= 400 ? ($r->json // {})->{type} // 'none' : '-';
    $problem =~ s/^urn:nucleus:problem://;
    $problem = $fresh ? 'first' : length $c->rest ? 'cut' : 'idle' if !$r;
    printf {$log} "A %d %d %s %.3f\n", $request, $status, $problem, time;

    if ($r && $sender->{keep} && ($r->header('Connection') // '') ne 'close') {
        $sender->{client} = $c;
        $sender->{fresh} = 0;
    } else {
        $c->close;
        $sender->{fresh} = 1;
    }

    return 'refused' if $status == 503 && $problem ne 'outcome-unknown';
    return 'idle' if $problem eq 'idle' && !$self->{kills};
    return;
}

# The connection that is kept, or a new one.  One that is refused is written down and tried again.
sub connection {
    my ($self, $sender) = @_;

    if (my $c = delete $sender->{client}) {
        return $c if !$c->closed(0);
        $c->close;
        $sender->{fresh} = 1;
        print { $sender->{log} } "C\n";
    }

    while (1) {
        my $c = Nucleus::Client->new(port => $self->{t}->port, may_fail => 1, timeout => ANSWER_SECONDS);
        return $c if $c;

        print { $sender->{log} } "R\n";
        return if -e $self->{stop_file};
        sleep 0.01 + rand 0.05;
    }
}

# ---- the books

# Take up what the senders have written since the last time.
sub read_on {
    my ($self) = @_;

    for my $file (@{ $self->{files} }) {
        open my $fh, '<:raw', $file->{name} or next;
        seek $fh, $file->{at}, 0 or die "seek failed: $!\n";

        while (my $line = <$fh>) {
            last if $line !~ /\n\z/;
            $file->{at} += length $line;
            $self->take_up($file, split ' ', $line);
        }
    }

    return $self;
}

sub take_up {
    my ($self, $file, $what, @field) = @_;

    my $events = $self->{events};

    if ($what eq 'S') {
        my ($request, $id, $sha256) = @field;
        my $before = $events->{$id};
        push @{ $self->{wrong} }, "$id was sent again after a 202" if $before && $before->{status} == 202;
        $events->{$id} = { sha256 => $sha256, status => 0, problem => '-' };
        push @{ $file->{request}{$request} }, $id;

    } elsif ($what eq 'A') {
        my ($request, $status, $problem, $when) = @field;
        push @{ $self->{answers} },
            { status => $status, problem => $problem, when => $when, from => "$file->{name} request $request" };
        $self->{counts}{ $status || 'none' }++;
        @{ $events->{$_} }{qw(status problem)} = ($status, $problem)
            for @{ delete $file->{request}{$request} };

    } elsif ($what eq 'T') {
        $self->{retries}{ $field[0] }++;

    } else {
        $self->{counts}{ $what eq 'R' ? 'refused' : 'closed' }++;
    }
}

# How many requests were answered, or not, so far.
sub answers { return scalar @{ $_[0]->read_on->{answers} } }

sub wait_answers {
    my ($self, $count) = @_;

    return $self->{t}->wait_for("$count answers to the senders", 120, sub { $self->answers >= $count });
}

# Answers by status, "none", "refused" connections, and kept ones that were "closed" before they were
# used again.
sub count { return { %{ $_[0]->read_on->{counts} } } }

# Requests that were sent again, by cause.
sub retries { return { %{ $_[0]->read_on->{retries} // {} } } }

# Numbers by name, as text.
sub numbers {
    my ($count) = @_;

    return join ', ', map { "$_: $count->{$_}" } sort keys %$count;
}

# The answers that the code says yes to: a list of texts.
sub answers_that {
    my ($self, $code) = @_;

    return map { "$_->{from}: $_->{status} $_->{problem} at $_->{when}" }
        grep { $code->($_) } @{ $self->read_on->{answers} };
}

# Requests without an answer that were not the victims of an idle connection's end.
sub unanswered {
    my ($self) = @_;

    return $self->answers_that(sub { !$_[0]{status} && $_[0]{problem} ne 'idle' });
}

# How many times each event is stored, and what should not be there.
sub compare {
    my ($self, $event, $store) = @_;

    my (%times, @wrong);

    Nucleus::Store::each_event($store, sub {
        my ($stored) = @_;
        my $id = $stored->{id} // '';
        return if $id !~ /^\Q$self->{name}\E-/;

        my $sent = $event->{$id};
        push @wrong, "$id was never sent" if !$sent;
        return if !$sent || $times{$id}++;
        push @wrong, "$id has changed"
            if $stored->{data_sha256} ne $sent->{sha256} || Nucleus::Store::sha256($stored) ne $sent->{sha256};
    });

    return (\%times, \@wrong);
}

# Is each event stored as often as its answer allows?  Adds to what is wrong, returns the books.
sub judge {
    my ($self, $event, $times, $wrong) = @_;

    my %books = (events => scalar keys %$event);

    for my $id (sort keys %$event) {
        my ($status, $problem) = @{ $event->{$id} }{qw(status problem)};
        my $stored = $times->{$id} // 0;

        if ($status == 202) {
            $books{acknowledged}++;
            push @$wrong, "$id was acknowledged and is stored $stored times" if $stored != 1;

        } elsif ($status == 0 || $problem eq 'outcome-unknown') {
            $books{"in doubt, stored $stored times"}++;
            push @$wrong, "$id (in doubt) is stored $stored times" if $stored > 1;

        } else {
            $books{"refused with $status"}++;
            push @$wrong, "$id was refused ($status, $problem) and is stored $stored times" if $stored;
        }
    }

    return \%books;
}

# Wait until all that was acknowledged is stored, then compare.  The store is given to tests that
# have another one.
sub check {
    my ($self, $name, $store) = @_;

    my $event = $self->read_on->{events};
    my @acked = grep { $event->{$_}{status} == 202 } keys %$event;
    my ($times, $wrong) = ({}, []);

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $self->{t}->wait_for("$name: all that was acknowledged is stored", 120, sub {
        my $status = $self->{t}->status or return 0;
        return 0 if $status->{error} || $status->{lag}{records};

        ($times, $wrong) = $self->compare($event, $store // $self->{t}->store);

        return !grep { !$times->{$_} } @acked;
    });

    push @$wrong, @{ $self->{wrong} };
    my $books = $self->judge($event, $times, $wrong);

    Test::More::note("$name: ", numbers($books));
    Test::More::ok(!@$wrong, "$name: the store agrees with the ledger")
        or Test::More::diag(join "\n", scalar(@$wrong) . ' wrong', @$wrong > 20 ? @$wrong[ 0 .. 19 ] : @$wrong);

    return $books;
}

1;
