package Nucleus::Example;

# The examples of conf-examples/, started as they are but for what a test cannot have: their ports,
# paths, certificates' places and users are exchanged mechanically, all else stays to the letter.
#
#     my $x = Nucleus::Example->new('tls-keys.conf', 'worker.conf');
#     $x->{t}          # a Nucleus::Test with both files, not started
#     $x->port(443)    # the port that stands for it
#     $x->path('/etc/ssl/events.pem')

use strict;
use warnings;

use Test::More ();

use Nucleus::Client;
use Nucleus::Registry;
use Nucleus::Test;

my $examples = "$Nucleus::Test::ROOT/conf-examples";

# Options: edit => code that changes the text of nginx's file in $_ first, and says so in the test.
sub new {
    my ($class, $nginx, $worker, %opt) = @_;

    my $t = Nucleus::Test->new;
    my $self = bless { t => $t, port => {} }, $class;
    my $dir = $t->dir;

    $t->write_file("$_/.keep", '') for qw(etc/ssl/private etc/nucleus etc/nginx var/lib/nucleus srv run/nucleus log tmp);
    $t->write_file('etc/nginx/mime.types', "types { text/html html; text/css css; }\n");
    $t->make_certificate;
    rename "$dir/cert.pem", "$dir/etc/ssl/events.pem" or die "rename failed: $!\n";
    rename "$dir/key.pem", "$dir/etc/ssl/private/events.key" or die "rename failed: $!\n";

    $self->{registry} = Nucleus::Registry->new($t, "$dir/var/lib/nucleus");
    $t->{queue} = "$dir/var/lib/nucleus/queue";
    $t->{state} = "$dir/var/lib/nucleus/state";
    $t->{store} = "$dir/var/lib/nucleus/store";

    my $text = example($t, $nginx);
    if ($opt{edit}) {
        local $_ = $text;
        $opt{edit}->();
        $text = $_;
    }

    $t->write_confs(nginx => $self->nginx($text), worker => $self->paths(example($t, $worker)));

    return $self;
}

sub example {
    my ($t, $name) = @_;

    my $text = $t->read_file("$examples/$name");
    die "there is no conf-examples/$name\n" if !length $text;

    return $text;
}

sub path { return $_[0]{t}->dir . $_[1] }

# The port that stands for one of the example; the first that is asked for is the test's own.
sub port {
    my ($self, $port) = @_;

    my $first = !%{ $self->{port} };

    return $self->{port}{$port} //= $first ? $self->{t}->port : $self->{t}->free_port;
}

# Absolute paths lie below the test's directory; nginx's logs are where the harness looks for them.
sub paths {
    my ($self, $text) = @_;

    my $dir = $self->{t}->dir;
    $text =~ s{(?<=[\s"'=:])/var/log/(?:nginx|nucleus)/}{$dir/}g;
    $text =~ s{(?<=[\s"'=:])/(?=(?:etc|run|srv|var)/)}{$dir/}g;

    return $text;
}

sub nginx {
    my ($self, $text) = @_;

    my $temp = join ' ', map { "${_}_temp_path %%DIR%%/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    $text = $self->paths($text);
    $text =~ s{^load_module .*$}{load_module %%MODULE%%;}m;
    $text =~ s{^user .*$}{%%USER%%}m;
    $text =~ s{^http \{$}{http \{\n    $temp}m or die "no \"http {\"\n";
    $text =~ s{(listen\s+)(?:127\.0\.0\.1:)?(\d+)}{$1 . '127.0.0.1:' . $self->port($2)}ge;
    $text =~ s{(server\s+127\.0\.0\.1:)(\d+)}{$1 . $self->port($2)}ge;

    return $text;
}

# One request with curl, which trusts the example's certificate: its status, body and headers.
sub curl {
    my ($self, $url, @args) = @_;

    my $t = $self->{t};
    my ($code, $out) = $t->run([ qw(curl -s -S -i -m 30 --cacert), $self->path('/etc/ssl/events.pem'), @args, $url ]);
    my $r = Nucleus::Response->new('curl failed');

    if ($code == 0 && $out =~ m{\A(?:HTTP/1\.1 100 .*?\r\n\r\n)?(.*?)\r\n\r\n(.*)\z}s) {
        $r = Nucleus::Response->new($1);
        $r->{body} = $2;
        return $r;
    }

    Test::More::diag("curl @args $url: $out");

    return $r;
}

# An event by POST with a key; further arguments are curl's.
sub post {
    my ($self, $url, $body, @args) = @_;

    return $self->curl($url, '-H', 'Content-Type: application/json', '--data-binary', $body, @args);
}

sub with_key { return ('-H', "Authorization: Bearer $_[0]{key}") }

1;
