package Nucleus::Http3;

# HTTP/3 by gtlsclient of the package ngtcp2-client, with headers of ours (http3.c).
#
#     my $h = Nucleus::Http3->new($t, $port);
#     my @answers = $h->post(['/events'], '{"id":"a"}');     # { status, type, durability, … }

use strict;
use warnings;

use File::Basename qw(dirname);

sub new {
    my ($class, $t, $port) = @_;

    return bless { t => $t, port => $port, so => $t->preload(dirname(__FILE__) . '/http3.c') }, $class;
}

# The command and the environment that POST the body to each of the URIs, streams of one connection.
# Options: type (application/json; undef for none), length => 0 (not said), args (of gtlsclient).
sub command {
    my ($self, $uris, $body, %opt) = @_;

    my $t = $self->{t};
    my $file = $t->write_file('h3.body', $body);
    my $type = exists $opt{type} ? $opt{type} : 'application/json';
    my %env = (LD_PRELOAD => $self->{so});
    $env{NUCLEUS_TYPE} = $type if defined $type;
    $env{NUCLEUS_NO_LENGTH} = 1 if !($opt{length} // 1);

    return (
        [ qw(gtlsclient --no-quic-dump --exit-on-all-streams-close -m POST --timeout=20s -d), $file, @{ $opt{args} // [] },
            '127.0.0.1', $self->{port}, map { "https://127.0.0.1:$self->{port}$_" } @$uris ],
        env => \%env
    );
}

# Their answers, in the order of the URIs: a hash of header fields each, "status" among them, and the
# text of all bodies in "body" of the first.
sub post {
    my ($self, @args) = @_;

    my ($command, %env) = $self->command(@args);
    my ($status, $out) = $self->{t}->run($command, %env);
    my %answer;

    for my $line (split /\n/, $out) {
        my ($id, $name, $value) = $line =~ /^http: stream 0x([0-9a-f]+) \[:?([\w-]+): (.*)\]$/ or next;
        $answer{ hex $id }{$name} = $value;
    }

    $_->{out} = $out for values %answer;

    return map { $answer{ 4 * $_ } // { status => 0, out => $out } } 0 .. $#{ $args[0] };
}

1;
